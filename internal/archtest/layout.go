package archtest

// module is the path of this module.
const module = "github.com/dartwing/jobledger"

// Layer is one row of the layout: a folder, what of ours it may import, and
// which modules beyond the three that everything may use.
type Layer struct {
	Folder  string   // a package and all packages below it
	Imports []string // folders of other layers; packages of the layer itself always
	Modules []string // third-party modules beside baseModules
	Program bool     // a main package, which no external test package can import
}

// baseModules are all that a publisher's or worker's program needs beyond the
// standard library (DESIGN, Layout).
var baseModules = []string{
	"github.com/nats-io/nats.go",
	"github.com/google/uuid",
	"go.uber.org/zap",
}

// testModules may be imported by tests, whatever the layer.
var testModules = []string{
	"pgregory.net/rapid",
	"go.uber.org/goleak",
	"github.com/rogpeppe/go-internal",
	"github.com/google/jsonschema-go",
	"github.com/netresearch/go-cron", // for naive models of schedules
}

// testPackages of ours open servers and cells, or make the documents that are committed; external test packages of every
// layer may import them, and the tests of programs.
var testPackages = []string{"ledger/ledgertest", "internal/natsd", "internal/schemagen"}

// fixtures may be imported from everywhere: they hold data and import nothing.
const fixtures = "testdata"

// core is what projector, dispatcher and handlers stand on. They never import
// each other: they meet through the work queue and the ledger.
var core = []string{"schemas", "ledger"}

// edge is what the gateway may see: everything below it.
var edge = append([]string{"projector", "dispatcher", "handlers", "internal/ticks", "internal/where"}, core...)

// layout is DESIGN's, from the bottom up. A package that fits no row fails the
// test: a new folder needs its arrows written down here.
var layout = []Layer{
	{Folder: fixtures},
	{Folder: "internal/archtest"},
	{Folder: "internal/plainjson"},
	{Folder: "internal/replies"},
	{Folder: "internal/groups", Imports: []string{"internal/replies"}},
	{Folder: "internal/packs"},
	{Folder: "internal/near"},
	{Folder: "schemas", Imports: []string{"internal/plainjson"}},
	{Folder: "internal/schemagen", Imports: []string{"schemas"}, Modules: []string{"github.com/google/jsonschema-go"}},
	{Folder: "ledger", Imports: []string{"schemas", "internal/groups", "internal/packs", "internal/plainjson", "internal/replies"}},
	{Folder: "internal/where", Imports: append([]string{"internal/near"}, core...)},
	{Folder: "internal/ticks", Imports: []string{"schemas"}, Modules: []string{"github.com/netresearch/go-cron"}},
	{Folder: "projector", Imports: append([]string{"internal/groups", "internal/replies"}, core...)},
	{Folder: "projector/index", Imports: append([]string{"internal/where"}, core...), Modules: []string{"modernc.org/sqlite"}},
	{Folder: "dispatcher", Imports: append([]string{"internal/ticks"}, core...)},
	{Folder: "handlers", Imports: core},
	{Folder: "gateway", Imports: edge, Modules: []string{"github.com/google/jsonschema-go", "golang.org/x/time"}},
	{Folder: "gateway/console"}, // static files: all that it knows comes over HTTP
	{Folder: "internal/metrics", Imports: append([]string{"dispatcher", "projector"}, core...), Modules: []string{"github.com/prometheus/client_golang"}},
	{Folder: "internal/web"},
	{Folder: "internal/natsd", Imports: []string{"internal/packs"}, Modules: []string{"github.com/nats-io/nats-server/v2"}},
	{Folder: "internal/backup", Imports: core, Modules: []string{"github.com/klauspost/compress/s2"}},                           // the form of the server's snapshots
	{Folder: "internal/tracing", Imports: append([]string{"handlers"}, core...), Modules: []string{"go.opentelemetry.io/otel"}}, // with -tags otel
	{Folder: "internal/historydb", Imports: core, Modules: []string{"modernc.org/sqlite"}},
	{Folder: "internal/cell", Imports: append([]string{"gateway", "gateway/console", "internal/metrics", "internal/web", "projector/index"}, edge...), Modules: []string{"golang.org/x/sync"}},
	{Folder: "internal/sim", Imports: edge}, // tests only
	{Folder: "internal/demo", Imports: append([]string{"handlers"}, core...)},
	{Folder: "internal/release"},
	{Folder: "internal/storm", Imports: append([]string{"internal/release"}, core...)},                            // tests only: it runs the program and reads its ledger
	{Folder: "internal/peers", Program: true, Imports: append([]string{"handlers", "internal/release"}, core...)}, // its adapter imports the public packages only
	{Folder: "internal/pairs", Program: true, Imports: []string{"internal/release"}},
	{Folder: "internal/scale", Program: true, Imports: append([]string{"gateway", "handlers", "internal/backup", "internal/natsd", "internal/release", "internal/where", "projector/index"}, core...), Modules: []string{"golang.org/x/sync"}},
	{Folder: "ledger/ledgertest", Imports: append([]string{"gateway", "internal/cell", "internal/natsd", "projector/index"}, edge...)},
	{
		Folder:  "cmd",
		Program: true,
		Imports: append([]string{"gateway", "gateway/console", "internal/backup", "internal/cell", "internal/demo", "internal/historydb", "internal/metrics", "internal/natsd", "internal/near", "internal/packs", "internal/tracing", "internal/web"}, edge...),
		Modules: []string{
			"github.com/choria-io/fisk",
			"github.com/dustin/go-humanize",
			"github.com/google/jsonschema-go",
			"github.com/jedib0t/go-pretty/v6",
			"golang.org/x/sync",
			"golang.org/x/term",
		},
	},
}
