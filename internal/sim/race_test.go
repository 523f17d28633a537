//go:build race

package sim_test

// seedsDefault is how many seeds an ordinary run takes: the race detector makes each eight times as dear.
const seedsDefault = 20

// raceDetector reports whether it is built in.
const raceDetector = true
