package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// statsForm is Stats as it is stored: rows of numbers, for a document is written every second.
type statsForm struct {
	After   schemas.Seq `json:"after"`
	Minutes [][]int64   `json:"minutes"`
	Hours   [][]int64   `json:"hours"`
	Days    [][]int64   `json:"days"`
	Tens    [][][]int64 `json:"tens"` // at, wait, run, total; each of these: n, sum in ms, then bucket and number by turns
}

// MarshalJSON implements json.Marshaler.
func (s *Stats) MarshalJSON() ([]byte, error) {
	f := statsForm{s.After, slotRows(s.Minutes), slotRows(s.Hours), slotRows(s.Days), make([][][]int64, len(s.Tens))}
	for i := range s.Tens {
		t := &s.Tens[i]
		f.Tens[i] = [][]int64{{int64(t.At)}, t.Wait.row(), t.Run.row(), t.Total.row()}
	}
	return json.Marshal(&f)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Stats) UnmarshalJSON(body []byte) error {
	var f statsForm
	if err := json.Unmarshal(body, &f); err != nil {
		return err
	}
	*s = Stats{After: f.After, Tens: make([]StatTimes, len(f.Tens))}
	var bad [3]error
	s.Minutes, bad[0] = slotsOf(f.Minutes)
	s.Hours, bad[1] = slotsOf(f.Hours)
	s.Days, bad[2] = slotsOf(f.Days)
	for i, rows := range f.Tens {
		if len(rows) != 4 || len(rows[0]) != 1 {
			return fmt.Errorf("statistics: row %d of tens is none", i)
		}
		t := &s.Tens[i]
		t.At = int32(rows[0][0])
		for k, h := range []*Histogram{&t.Wait, &t.Run, &t.Total} {
			if err := h.read(rows[k+1]); err != nil {
				return err
			}
		}
	}
	return errors.Join(bad[:]...)
}

func slotRows(slots []StatSlot) [][]int64 {
	rows := make([][]int64, len(slots))
	for i := range slots {
		x := &slots[i]
		rows[i] = []int64{int64(x.At), int64(x.Submitted), int64(x.Started), int64(x.Ended), int64(x.Failed), int64(x.Completed), int64(x.Dead),
			x.RanMS, x.In, x.Out, int64(x.WaitingFirst), int64(x.WaitingLast), int64(x.WaitingMax)}
	}
	return rows
}

func slotsOf(rows [][]int64) ([]StatSlot, error) {
	slots := make([]StatSlot, len(rows))
	for i, r := range rows {
		if len(r) != 13 {
			return nil, fmt.Errorf("statistics: a slot of %d numbers is none", len(r))
		}
		slots[i] = StatSlot{At: int32(r[0]), Submitted: uint32(r[1]), Started: uint32(r[2]), Ended: uint32(r[3]), Failed: uint32(r[4]),
			Completed: uint32(r[5]), Dead: uint32(r[6]), RanMS: r[7], In: r[8], Out: r[9],
			WaitingFirst: int32(r[10]), WaitingLast: int32(r[11]), WaitingMax: int32(r[12])}
	}
	return slots, nil
}

func (h *Histogram) row() []int64 {
	row := make([]int64, 0, 2+2*len(h.Hit))
	row = append(row, int64(h.N), h.SumMS)
	for _, b := range h.Hit {
		row = append(row, int64(b.Bucket), int64(b.N))
	}
	return row
}

func (h *Histogram) read(row []int64) error {
	if len(row) < 2 || len(row)%2 != 0 {
		return fmt.Errorf("statistics: a histogram of %d numbers is none", len(row))
	}
	*h = Histogram{N: uint64(row[0]), SumMS: row[1]}
	for i := 2; i < len(row); i += 2 {
		h.Hit = append(h.Hit, HistogramBucket{uint16(row[i]), uint32(row[i+1])})
	}
	return nil
}
