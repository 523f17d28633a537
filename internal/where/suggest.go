package where

// nearest is the name nearest to a word, or nothing when none is near: a third of the letters may differ.
func nearest(word string, names []string) string {
	best, distance := "", len(word)/3+1
	for _, name := range names {
		if d := editDistance(word, name); d <= distance && (best == "" || d < distance) {
			best, distance = name, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or replace to get from a to b.
func editDistance(a, b string) int {
	above, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, above[j]+1, row[j-1]+1)
		}
		above, row = row, above
	}
	return above[len(b)]
}
