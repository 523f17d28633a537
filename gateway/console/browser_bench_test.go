//go:build browser

package console_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
)

var at = flag.String("url", "", "the list of jobs that is measured, as http://127.0.0.1:8422/o/acme/jobs; its org has types type-0 to type-7")

// BenchmarkPaint is what people wait for: the first rows of the list of jobs after the page is opened anew, and those of
// another filter (INTERFACE 7). The server is one that runs, with as many jobs as are wanted; -benchtime says how often.
func BenchmarkPaint(b *testing.B) {
	if *at == "" {
		b.Skip("-url names no server to look at")
	}
	page := open(b, *at)
	const rows = `new Promise(done => { const look = () => document.querySelector("tbody tr td a") ? done(performance.now()) : requestAnimationFrame(look); look() })`
	b.Run("open", func(b *testing.B) {
		var took []float64
		for range b.N {
			page.visit(*at)
			took = append(took, js[float64](page, rows))
		}
		tell(b, took)
	})
	b.Run("filter", func(b *testing.B) {
		var took []float64
		for i := range b.N {
			kind := fmt.Sprintf("type-%d", i%8)
			took = append(took, js[float64](page, fmt.Sprintf(`new Promise(done => {
				const box = document.querySelector("[data-filter]"), begin = performance.now()
				const look = () => {
					const shown = [...document.querySelectorAll("tbody tr")]
					shown.length > 0 && shown.every(r => r.innerText.includes(%[1]q)) ? done(performance.now() - begin) : requestAnimationFrame(look)
				}
				Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(box, "type:" + %[1]q)
				box.dispatchEvent(new Event("input", {bubbles: true}))
				requestAnimationFrame(() => box.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true})))
				look()
			})`, kind)))
		}
		tell(b, took)
	})
}

// tell reports percentiles of milliseconds.
func tell(b *testing.B, took []float64) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[(len(took)-1)*95/100], "p95-ms")
	b.ReportMetric(took[len(took)-1], "max-ms")
}
