package guest

import (
	"time"

	"github.com/pkg/errors"
)

// Migration is what QEMU says of one: the answer to query-migrate.
type Migration struct {
	Status   string `json:"status"`     // "active", "completed", "failed" and others
	Total    int    `json:"total-time"` // ms
	Downtime int    `json:"downtime"`   // ms
	Error    string `json:"error-desc"`
	RAM      struct {
		Transferred int `json:"transferred"` // bytes
		Rounds      int `json:"dirty-sync-count"`
	} `json:"ram"`
}

// migrationPoll is how often QEMU is asked for the state of a migration.
const migrationPoll = 20 * time.Millisecond

// Pace bounds how many bytes a second a migration sends, and how long it may stop the guest in its end: it goes round and
// round until what is dirty can be sent in that time.
func (g *Guest) Pace(bandwidth int, downtime time.Duration) error {
	return g.QMP.Execute("migrate-set-parameters", map[string]any{
		"max-bandwidth": bandwidth, "downtime-limit": downtime.Milliseconds(),
	}, nil)
}

// Migrate begins to send the guest to the QEMU that waits at a socket, and returns.
func (g *Guest) Migrate(socket string) error {
	return g.QMP.Execute("migrate", map[string]string{"uri": "unix:" + socket}, nil)
}

// Migration returns how far it is.
func (g *Guest) Migration() (m Migration, err error) {
	err = g.QMP.Execute("query-migrate", nil, &m)
	return m, err
}

// AwaitMigration waits until the migration has a status. Failing instead is an error, unless it is waited for.
func (g *Guest) AwaitMigration(status string, limit time.Duration) (Migration, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(migrationPoll) {
		m, err := g.Migration()
		switch {
		case err != nil:
			return m, err
		case m.Status == status:
			return m, nil
		case m.Status == "failed" || m.Status == "cancelled" || m.Status == "completed":
			return m, errors.Errorf("migration is %s, want %s: %s", m.Status, status, m.Error)
		case time.Now().After(deadline):
			return m, errors.Errorf("migration is still %s after %v, %d bytes and %d rounds", m.Status, limit, m.RAM.Transferred, m.RAM.Rounds)
		}
	}
}
