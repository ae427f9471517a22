// Package duel compares back-ends that take turns: one short run each, round after round, in one sitting on one machine.
// Absolute figures of a machine that others use, too, mean little; ratios of what ran in the same minute mean something,
// and a control says how much.
//
// A Contest has Contestants: a Backend (a process that serves a disk on a socket: Vublk and Peer know their command lines),
// Fio on the same file, the driver's own Ceiling, or the caller's. Contest.Run starts them all, gives each a turn in each
// round, stops them, and returns a Report: all results, medians, ratios, verdicts.
//
// # Turns
//
// Every second round goes backwards: A B C, C B A, A B C, … A drift of the machine within the contest (heat, a
// neighbour who comes) then weighs on all alike, and nobody is always the one behind the same neighbour. Contestants
// whose turn it is not run on and sleep.
//
// A Probe tells which rounds count, where the machine is one that its host takes apart.
//
// # Ratios and the control
//
// A ratio is the ratio of the medians of two contestants' rounds. Two contestants of a contest are the control: the same
// program with the same options (A/A). Were there no noise, their ratio were 1. The spread is what the machine did to that
// ratio, the larger of two estimates:
//
//   - how far the control's ratio of medians is from 1. Alone it would be one draw, which comes out near 1 by luck every
//     now and then, just when the noise is large.
//   - twice the standard error that the scatter of its rounds predicts for a ratio of medians: 2 x 0.93 x q / sqrt(n), with q
//     the distance between the quartiles of the n rounds' ratios' logarithms (a normal distribution has a standard
//     deviation of q / 1.349, its median an error of 1.253 standard deviations / sqrt(n)). Quartiles, so that one round in
//     which somebody else had the CPU does not decide it. Alone it would not see what differs between two instances of one
//     program for as long as they live, as where their memory happens to lie.
//
// All is done in logarithms, so that A/B and B/A, and a limit and its inverse, are judged alike.
//
// # Limits
//
// A limit holds when it is met beyond the spread: "at least L" when ratio / (1 + spread) >= L, "at most L" when
// ratio x (1 + spread) <= L. So a ratio of 1.02 with a spread of 3 % does not show that something is faster. The
// peer's own noise is not in the spread; Ratio.Low and High are quartiles of the rounds' ratios, to see it. With noise alike in
// all, a ratio that is just at its limit is called held in 6 of 100 contests of 9 rounds (TestVerdicts), and in 9 of 100
// when the machine drifts.
//
// # Who owns what
//
// A Contest runs in its caller's goroutine. Processes die with this one (prctl(2), PR_SET_PDEATHSIG); what they say
// goes to a log, whose end is part of the error when a turn fails.
//
// Read next: contest.go, then ratio.go.
package duel
