package demo

import (
	"context"
	"image"
)

// fit returns the size of a w x h picture scaled down so that its longer side is at most limit, both sides at least 1.
func fit(w, h, limit int) (int, int) {
	longer := max(w, h)
	if longer <= limit {
		return w, h
	}
	scale := func(side int) int { return max(1, (side*limit+longer/2)/longer) }
	return scale(w), scale(h)
}

// span is the part of one source row or column that a target pixel covers: from first on, each source pixel counts
// by its weight. The weights of a span sum to the source's length.
type span struct {
	first   int
	weights []uint64
}

// spans divides a source of length n among m target pixels, m <= n. Measured in units of 1/m of a source pixel,
// source pixel s covers [s*m, s*m+m) and target pixel t covers [t*n, t*n+n); a weight is their overlap, so all is
// exact in integers.
func spans(n, m int) []span {
	out := make([]span, m)
	for t := range out {
		from, to := t*n, t*n+n
		first := from / m
		s := span{first: first}
		for p := first; p*m < to; p++ {
			s.weights = append(s.weights, uint64(min(to, p*m+m)-max(from, p*m)))
		}
		out[t] = s
	}
	return out
}

// boxScale scales src down to w x h: each target pixel is the mean of the area it covers, rounded once. Means are
// taken of premultiplied colour, so transparent pixels lend none. The error is that of ctx.
func boxScale(ctx context.Context, src *image.RGBA, w, h int) (*image.RGBA, error) {
	const channels = 4
	sw, sh := src.Rect.Dx(), src.Rect.Dy()
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	columns, rows := spans(sw, w), spans(sh, h)
	area := uint64(sw) * uint64(sh) // the sum of all weights of one target pixel
	sums := make([]uint64, w*channels)
	for y, row := range rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		clear(sums)
		for i, wy := range row.weights {
			line := src.Pix[(row.first+i)*src.Stride:]
			for x, column := range columns {
				sum := sums[x*channels : x*channels+channels : x*channels+channels]
				for j, wx := range column.weights {
					p := line[(column.first+j)*channels:]
					weight := wx * wy
					sum[0] += weight * uint64(p[0])
					sum[1] += weight * uint64(p[1])
					sum[2] += weight * uint64(p[2])
					sum[3] += weight * uint64(p[3])
				}
			}
		}
		for i, sum := range sums {
			dst.Pix[y*dst.Stride+i] = uint8((sum + area/2) / area)
		}
	}
	return dst, nil
}
