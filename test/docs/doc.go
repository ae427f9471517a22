// Package docs runs what the README and the pages of docs/ tell people to type.
//
// page_test.go takes the blocks of commands out of the pages, rules_test.go says of each command how it is run: as it stands,
// with less time or another accelerator, by a test of another package, or never, with the reason. A command that no rule knows
// fails, and so does a rule that no page needs any more. Commands of one page run in the order of the page, by one shell in a
// room of their own (room.sh), in which /run is empty and what is written to /var/lib is gone afterwards; prelude.sh has the
// words of the rules.
//
// A new page needs nothing: what it shows is found. A command of a new kind needs a line in rules_test.go.
//
// Names of commands and options in the midst of sentences are looked up, not run (inline_test.go). The man pages are looked
// at by man and mandoc (man_test.go), the shells' completions are used (completion_test.go).
package docs
