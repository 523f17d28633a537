package main

import (
	"encoding/csv"
	"io"
	"strings"

	pretty "github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// grid is a list on its way to a person, a pipe or a spreadsheet.
type grid struct {
	Title   string
	Columns []string
	Rows    [][]string
}

func (g *grid) add(cells ...string) { g.Rows = append(g.Rows, cells) }

// tableColors are the names nats knows for the frame of its tables.
var tableColors = map[string]text.Color{
	"red":     text.FgRed,
	"green":   text.FgGreen,
	"yellow":  text.FgYellow,
	"blue":    text.FgBlue,
	"magenta": text.FgMagenta,
	"cyan":    text.FgCyan,
}

func checkColors(name string) error {
	if _, known := tableColors[name]; name == "" || name == "none" || known {
		return nil
	}
	return usagef("--colors: %q is not red, green, yellow, blue, magenta, cyan or none", name)
}

// list prints the grid: a rounded table on a terminal; tab-separated rows
// without a heading in a pipe, which sees data only.
func (p *program) list(g *grid) error {
	if !p.IsTerminal(p.Stdout) {
		return outputError(writeTabbed(p.Stdout, g))
	}
	return p.printf("%s\n", g.render(p.frameColor()))
}

// frameColor is the colour of tables, none unless asked for.
func (p *program) frameColor() text.Colors {
	color, ok := tableColors[p.flags.Colors.Value]
	if !ok || p.Getenv("NO_COLOR") != "" || p.Getenv("TERM") == "dumb" || !p.IsTerminal(p.Stdout) {
		return nil
	}
	return text.Colors{color}
}

// render draws the rounded table that nats draws.
func (g *grid) render(color text.Colors) string {
	t := pretty.NewWriter()
	style := pretty.StyleRounded
	style.Format.Header = text.FormatDefault
	style.Title.Align = text.AlignCenter
	style.Color.Border = color
	style.Color.Separator = color
	t.SetStyle(style)
	if g.Title != "" {
		t.SetTitle(g.Title)
	}
	t.AppendHeader(cellsOf(g.Columns))
	for _, row := range g.Rows {
		t.AppendRow(cellsOf(row))
	}
	return t.Render()
}

func cellsOf(cells []string) pretty.Row {
	row := make(pretty.Row, len(cells))
	for i, c := range cells {
		row[i] = quiet(c)
	}
	return row
}

// writeCSV prints the grid for --format csv, with a heading: the columns are
// the contract.
func (g *grid) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(g.Columns); err != nil {
		return err
	}
	return out.WriteAll(g.Rows)
}

// oneLine keeps a cell inside its row and column.
var oneLine = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

func writeTabbed(w io.Writer, g *grid) error {
	for _, row := range g.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = quiet(oneLine.Replace(c))
		}
		if _, err := io.WriteString(w, strings.Join(cells, "\t")+"\n"); err != nil {
			return err
		}
	}
	return nil
}
