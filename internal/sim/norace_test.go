//go:build !race

package sim_test

// seedsDefault is how many seeds an ordinary run takes.
const seedsDefault = 100
