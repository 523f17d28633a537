package metrics

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

const deploy = "../../deploy/"

var (
	descForm  = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	nameForm  = regexp.MustCompile(`\bjobledger_[a-z_]+`)
	usedForm  = regexp.MustCompile(`\b(jobledger_[a-z_]+)(?:\{([^}]*)\})?`)
	labelForm = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	groupForm = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// exported are the labels of all families, by every name under which a scrape shows them.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	kept := registerer{}
	newFamilies(&kept)
	newHTTP(&kept)
	kept = append(kept, &gauges{})
	kept = append(kept, NewMeters().own...)
	names := map[string][]string{}
	for _, c := range kept {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			m := descForm.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("%s is not understood", d)
			}
			var labels []string
			if m[2] != "" {
				labels = strings.Split(m[2], ",")
			}
			names[m[1]] = labels
			if _, ok := c.(*prometheus.HistogramVec); ok {
				names[m[1]+"_sum"], names[m[1]+"_count"] = labels, labels
				names[m[1]+"_bucket"] = append([]string{"le"}, labels...)
			}
		}
	}
	return names
}

// registerer keeps what is registered with it.
type registerer []prometheus.Collector

func (r *registerer) Register(c prometheus.Collector) error   { *r = append(*r, c); return nil }
func (r *registerer) MustRegister(cs ...prometheus.Collector) { *r = append(*r, cs...) }
func (r *registerer) Unregister(prometheus.Collector) bool    { return false }

// checkQuery reports names and labels in a query that this binary does not export.
func checkQuery(t *testing.T, names map[string][]string, where, query string) {
	t.Helper()
	known := []string{"instance"} // of every target
	for _, m := range usedForm.FindAllStringSubmatch(query, -1) {
		labels, ok := names[m[1]]
		if !ok {
			t.Errorf("%s: %s is not exported", where, m[1])
		}
		known = append(known, labels...)
		for _, l := range labelForm.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	for _, m := range groupForm.FindAllStringSubmatch(query, -1) {
		for _, l := range strings.Split(m[1], ", ") {
			if !slices.Contains(known, l) {
				t.Errorf("%s: grouped by %s, which nothing in it has", where, l)
			}
		}
	}
	if strings.Count(query, "(") != strings.Count(query, ")") || strings.Count(query, "{") != strings.Count(query, "}") {
		t.Errorf("%s: brackets do not match", where)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each alert asks for what is exported, has a severity, and a line in the runbook (INTERFACE 6, R-771 to R-777).
func TestAlertRules(t *testing.T) {
	t.Parallel()
	names, guide := exported(t), read(t, "../../docs/MONITORING.md")
	_, rules, _ := strings.Cut(read(t, deploy+"prometheus/rules.yaml"), "rules:\n")
	alerts := strings.Split(rules, "      - alert: ")[1:]
	if len(alerts) < 15 {
		t.Fatalf("%d alerts are found", len(alerts))
	}
	for _, text := range alerts {
		name, _, _ := strings.Cut(text, "\n")
		field := func(form string) string {
			m := regexp.MustCompile(form).FindStringSubmatch(text)
			if m == nil {
				t.Errorf("%s lacks %s", name, form)
				return ""
			}
			return m[1]
		}
		query := field(`(?m)^        expr: >-\n          (.+)$`)
		checkQuery(t, names, name, query)
		if !nameForm.MatchString(query) && !strings.HasPrefix(query, "up{") {
			t.Errorf("%s asks for nothing of ours: %s", name, query)
		}
		field(`(?m)^        for: (\d+[smh])$`)
		field(`(?m)^          severity: (critical|warning|info)$`)
		field(`(?m)^          summary: "(.+)"$`)
		if at := field(`(?m)^          runbook_url: \S+/docs/MONITORING\.md#(\S+)$`); at != strings.ToLower(name) {
			t.Errorf("%s leads to %s", name, at)
		}
		if !strings.Contains(guide, "\n### "+name+"\n") {
			t.Errorf("docs/MONITORING.md says nothing of %s", name)
		}
	}
}

// Each query of the dashboard asks for what is exported.
func TestDashboard(t *testing.T) {
	t.Parallel()
	names := exported(t)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal([]byte(read(t, deploy+"grafana/jobledger.json")), &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			n++
			checkQuery(t, names, p.Title, q.Expr)
		}
	}
	for _, v := range board.Templating.List {
		checkQuery(t, names, "a variable", v.Query)
	}
	if n < 20 {
		t.Errorf("%d queries are found", n)
	}
}

// docs/MONITORING.md lists every family, and none that is not exported.
func TestEveryFamilyIsDocumented(t *testing.T) {
	t.Parallel()
	guide, names := read(t, "../../docs/MONITORING.md"), exported(t)
	_, list, _ := strings.Cut(guide, "\n## What is exported\n")
	list, _, _ = strings.Cut(list, "\n## ")
	said := nameForm.FindAllString(list, -1)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, suffix := range []string{"_sum", "_count", "_bucket"} {
			if _, ok := names[strings.TrimSuffix(name, suffix)]; ok && strings.HasSuffix(name, suffix) {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		if !slices.Contains(said, name) {
			t.Errorf("docs/MONITORING.md does not list %s", name)
		}
	}
	for _, name := range said {
		if _, ok := names[name]; !ok {
			t.Errorf("docs/MONITORING.md lists %s, which is not exported", name)
		}
	}
}
