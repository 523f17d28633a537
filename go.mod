module github.com/dartwing/jobledger

go 1.26.0
