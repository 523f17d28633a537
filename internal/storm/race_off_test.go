//go:build !race

package storm_test

// raceDetector: the program is built as the tests are.
const raceDetector = false
