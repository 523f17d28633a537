package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Package is the part of `go list -json` that the import test reads.
type Package struct {
	ImportPath   string
	Imports      []string // of the package itself
	TestImports  []string // of its tests in the same package
	XTestImports []string // of its external test package
}

// CheckImports returns one line for each import that the layout does not allow.
func CheckImports(layers []Layer, packages []Package) []string {
	var wrong []string
	for _, p := range packages {
		layer, ok := layerOf(layers, p.ImportPath)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is in no layer of the layout", p.ImportPath))
			continue
		}
		for _, imported := range p.Imports {
			if !allowed(layers, layer, imported) {
				wrong = append(wrong, fmt.Sprintf("%s must not import %s", p.ImportPath, imported))
			}
		}
		for _, imported := range p.TestImports {
			helper := layer.Program && isTestPackage(imported)
			if !allowed(layers, layer, imported) && !within(imported, testModules) && !helper {
				wrong = append(wrong, fmt.Sprintf("%s [test] must not import %s", p.ImportPath, imported))
			}
		}
		for _, imported := range p.XTestImports {
			if !allowed(layers, layer, imported) && !within(imported, testModules) && !isTestPackage(imported) {
				wrong = append(wrong, fmt.Sprintf("%s_test must not import %s", p.ImportPath, imported))
			}
		}
	}
	return wrong
}

// allowed tells whether code of the layer may import the path.
func allowed(layers []Layer, from Layer, imported string) bool {
	if _, ours := ourFolder(imported); ours {
		to, known := layerOf(layers, imported)
		return known && (to.Folder == from.Folder || to.Folder == fixtures || slices.Contains(from.Imports, to.Folder))
	}
	return isStd(imported) || within(imported, baseModules) || within(imported, from.Modules)
}

// layerOf finds the layer with the longest matching folder, so that
// ledger/ledgertest is not taken for ledger.
func layerOf(layers []Layer, path string) (Layer, bool) {
	folder, ok := ourFolder(path)
	if !ok {
		return Layer{}, false
	}
	var best Layer
	for _, l := range layers {
		if within(folder, []string{l.Folder}) && len(l.Folder) > len(best.Folder) {
			best = l
		}
	}
	return best, best.Folder != ""
}

// ourFolder cuts the module's path from an import path of ours.
func ourFolder(path string) (string, bool) {
	return strings.CutPrefix(path, module+"/")
}

func isTestPackage(path string) bool {
	folder, ours := ourFolder(path)
	return ours && within(folder, testPackages)
}

// within tells whether the path is one of the roots or lies below one.
func within(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// isStd follows the go command: a first element without a dot is the standard
// library's.
func isStd(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
