// Command pairs tells whether the program became faster or slower since an earlier commit, on a machine that is never
// quite quiet.
//
//	make pairs OLD=HEAD^ N=10 JOBS=5000
//
// It builds both, the earlier one out of git's history, and runs `bench flow --embedded` with the one and the other in
// turn, N pairs, every other pair the other way round, so that what changes slowly on the machine touches both alike.
// What is compared is the ratio new/old within each pair; its median is printed with an interval.
//
// # The interval
//
// The interval of a median by order statistics, as in the sign test: of N ratios in ascending order it goes from the
// k-th to the k-th from the end, with the greatest k for which the chance that the true median lies outside,
// 2*P(Binomial(N, 1/2) < k), is at most 5 %. It supposes nothing about how the ratios are distributed and is no
// wider for one wild pair. Six pairs are the fewest that can say anything at 95 %; with fewer the whole range is
// printed, with the chance that it has.
package main
