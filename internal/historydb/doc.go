// Package historydb writes a history into one SQLite file, for questions that are asked without jobledger.
//
// The file has the events that were chosen (table events, the columns of the CSV), and how every job stood at the end of
// the history that was read (table jobs), whichever events were chosen; views answer what is asked most, and the table
// about says what the file holds. It is written once, under another name until it is whole: a file that is there is
// complete, and none is ever changed.
//
// Times are text in UTC with nine digits of the second, so that they sort, and SQLite's date functions read them.
package historydb
