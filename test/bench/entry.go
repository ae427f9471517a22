package main

import (
	"context"
	"os"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/duel"
)

// entry is a contest of the standard set, and what came of it.
type entry struct {
	duel.Contest
	// Note is what a reader must know beside the figures.
	Note string
	// Prepare makes files; what is in dirs goes away after the contest.
	Prepare func() error
	dirs    []string
	// Ungated ratios are not compared with recorded ones: they are the disk's.
	Ungated bool
	// slow contests have a file behind them: how near the CPUs are to each other makes little difference.
	slow bool

	report *duel.Report
	ratios []ratio
	err    error // why it was not held
}

// ratio is one with its history.
type ratio struct {
	duel.Ratio
	recorded float64 // 0: never
	fallen   bool    // below that
}

// startup is about what a contestant takes beside its measured time.
const startup = 50 * time.Millisecond

// takes is about how long the contest takes.
func (e *entry) takes() time.Duration {
	turn := e.Load.Warmup + e.Load.Duration + startup
	var round time.Duration
	for _, c := range e.Contestants {
		round += turn
		if _, ok := c.(*duel.Fio); ok {
			round += 500 * time.Millisecond // fio takes its time
		}
	}
	return time.Duration(e.Rounds) * round
}

// hold holds the contest. What fails is kept in the entry: the others go on.
func (e *entry) hold(ctx context.Context) {
	if e.err != nil {
		return // it was never possible
	}
	defer func() {
		for _, dir := range e.dirs {
			if err := os.RemoveAll(dir); err != nil && e.err == nil {
				e.err = err
			}
		}
	}()
	if e.err = e.prepare(); e.err != nil {
		return
	}
	report, err := e.Run(ctx)
	if err != nil {
		e.err = err
		return
	}
	e.report = report
	all, err := report.Ratios()
	if err != nil {
		e.err = err
		return
	}
	for _, r := range all {
		e.ratios = append(e.ratios, ratio{Ratio: r})
	}
}

func (e *entry) prepare() error {
	for _, dir := range e.dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if e.Prepare == nil {
		return nil
	}
	return errors.Wrapf(e.Prepare(), "contest %s: prepare", e.Name)
}
