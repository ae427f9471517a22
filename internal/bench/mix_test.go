package bench

import "testing"

func TestParseMix(t *testing.T) {
	for word, want := range mixes {
		if m, err := ParseMix(word); err != nil || m != want || m.String() != word {
			t.Errorf("%s: %+v, %v, written as %q", word, m, err, m)
		}
	}
	if _, err := ParseMix("trim"); err == nil {
		t.Error("trim was accepted")
	}
	const want = "sequential, 30% writes, 5% flushes"
	if s := (Mix{WritePercent: 30, FlushPercent: 5, Sequential: true}).String(); s != want {
		t.Errorf("%q, want %q", s, want)
	}
}

func TestGeneratorKeepsItsPart(t *testing.T) {
	const first, blocks, sectors, draws = 100, 50, 8, 10000
	for _, m := range []Mix{{}, {Sequential: true}, {WritePercent: 40, FlushPercent: 20}} {
		g := newGenerator(m, 7, 0, first, blocks, sectors)
		again := newGenerator(m, 7, 0, first, blocks, sectors)
		seen := map[uint64]bool{}
		var count [kinds]int
		for range draws {
			kind, sector := g.draw()
			if k, s := again.draw(); k != kind || s != sector {
				t.Fatalf("%v: the same seed draws %d at %d and %d at %d", m, kind, sector, k, s)
			}
			count[kind]++
			if kind == kindFlush {
				continue
			}
			if sector%sectors != first*sectors%sectors || sector < first*sectors || sector >= (first+blocks)*sectors {
				t.Fatalf("%v: sector %d", m, sector)
			}
			seen[sector] = true
		}
		if len(seen) != blocks {
			t.Errorf("%v: %d of %d blocks drawn", m, len(seen), blocks)
		}
		flushes := draws * m.FlushPercent / 100
		writes := (draws - flushes) * m.WritePercent / 100
		for kind, want := range [kinds]int{kindRead: draws - flushes - writes, kindWrite: writes, kindFlush: flushes} {
			if off := count[kind] - want; off < -draws/20 || off > draws/20 || want == 0 && off != 0 {
				t.Errorf("%v: %d of kind %d, want about %d", m, count[kind], kind, want)
			}
		}
	}
}

func TestSequentialGoesRound(t *testing.T) {
	g := newGenerator(Mix{Sequential: true}, 0, 0, 3, 2, 8)
	for i, want := range []uint64{24, 32, 24, 32} {
		if _, s := g.draw(); s != want {
			t.Errorf("draw %d: sector %d, want %d", i, s, want)
		}
	}
}
