//go:build !race

package sim_test

// seedsDefault is how many seeds an ordinary run takes.
const seedsDefault = 100

// raceDetector reports whether it is built in.
const raceDetector = false
