// Package clitest runs the commands of this project as processes of their own, for tests.
//
// A package of package main calls Main from its TestMain; after that each Process is the test binary itself, started in
// the part of the command. So no binary has to be built, and the race detector, where it is on, watches the command.
//
// A Process belongs to the test's goroutine. What it writes to stderr is collected while it runs.
package clitest
