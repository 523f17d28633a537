//go:build !race

package sim_test

// seedsDefault is how many seeds an ordinary run takes: about half a minute.
const seedsDefault = 200

// raceDetector reports whether it is built in.
const raceDetector = false
