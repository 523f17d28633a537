package ledger

import (
	"cmp"
	"slices"
)

// unclassified is what is known of a subject where nothing is.
var unclassified = classified{class: classDefault}

// subjectGroup is what a step of the archive holds of one subject: it goes to one page, or to several one after the other.
type subjectGroup struct {
	subject  string
	place    string        // of its pages
	messages []*rawMessage // ascending
	*classified
}

// byClass sorts what was added as it will stand, a slice for each class: by place and subject. Messages are not sorted, only
// subjects, of which there are fewer.
func (w *segmentWriter) byClass() [][]*subjectGroup {
	all := w.groups()
	slices.SortFunc(all, func(a, b *subjectGroup) int {
		if c := cmp.Compare(a.class, b.class); c != 0 {
			return c
		}
		if c := cmp.Compare(a.place, b.place); c != 0 {
			return c
		}
		return cmp.Compare(a.subject, b.subject)
	})
	var classes [][]*subjectGroup
	for i := 0; i < len(all); {
		j := i + 1
		for j < len(all) && all[j].class == all[i].class {
			j++
		}
		classes = append(classes, all[i:j])
		i = j
	}
	return classes
}

// groups are what was added, by subject.
func (w *segmentWriter) groups() []*subjectGroup {
	places := make(map[string]string) // few: one text for each
	bySubject := make(map[string]*subjectGroup, len(w.messages)/fewMessages)
	var all []*subjectGroup
	for _, m := range w.messages {
		g := bySubject[m.Subject]
		if g == nil {
			place := pageOf(m.Subject)
			known, ok := places[place]
			if !ok {
				known = place
				places[place] = place
			}
			g = &subjectGroup{subject: m.Subject, place: known, messages: make([]*rawMessage, 0, fewMessages), classified: w.classes[m.Subject]}
			if g.classified == nil {
				g.classified = &unclassified
			}
			bySubject[m.Subject] = g
			all = append(all, g)
		}
		g.messages = append(g.messages, m)
	}
	return all
}
