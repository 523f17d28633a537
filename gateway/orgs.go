package gateway

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Org is a tenant, its share and its limits. What can be set with a SetRequest are its fields up to
// RetentionDays.
type Org struct {
	Name        schemas.OrgID    `json:"name"`
	DisplayName string           `json:"display_name"`
	State       schemas.OrgState `json:"state"`
	Weight      int              `json:"weight"`
	MaxRunning  int              `json:"max_running"` // 0: unlimited
	MaxWaiting  int              `json:"max_waiting"` // 0: unlimited
	SubmitRate  *schemas.Rate    `json:"submit_rate"`
	StartRate   *schemas.Rate    `json:"start_rate"`
	// RetentionDays is how long history is kept behind the finish of its job; 0: as the type says, else the cell.
	RetentionDays int `json:"retention_days"`
	// Counts are its jobs by state; null in a list, unless it asks for all.
	Counts *ledger.Count `json:"counts"`
	SettingAuthor
}

// OrgsRequest asks for the orgs that were ever set; with All for those that have jobs, too, each with its counts.
type OrgsRequest struct {
	All bool `json:"all,omitempty"`
}

// Orgs are the orgs that were asked for, by name. One that was never set has the defaults.
type Orgs struct {
	Items []Org   `json:"items"`
	Next  *string `json:"next"`
}

func orgOf(s *schemas.OrgSettings, by SettingAuthor) Org {
	o := Org{Name: s.Name, DisplayName: s.DisplayName, State: s.State, Weight: s.Weight, MaxRunning: s.Running(), MaxWaiting: s.MaxWaiting,
		SubmitRate: s.SubmitRate, StartRate: s.StartRate, RetentionDays: s.RetentionDays, SettingAuthor: by}
	if o.State == "" {
		o.State = schemas.OrgActive
	}
	if o.Weight == 0 {
		o.Weight = schemas.WeightDefault
	}
	return o
}

func orgEntry(e *ledger.Entry) Org { return orgOf(&e.Data.(*schemas.OrgSet).Settings, authorOf(e)) }

// orgInfo answers the org of the subject, also one that was never set: it may submit, with the defaults.
func (g *Gateway) orgInfo(ctx context.Context, r *request) ([]byte, error) {
	e, err := g.l.Setting(ctx, ledger.KindOrg, string(r.org))
	if err != nil {
		return nil, err
	}
	o := orgOf(&schemas.OrgSettings{Name: r.org}, SettingAuthor{})
	if e != nil {
		o = orgEntry(e)
	}
	counts, _, err := g.views.counts(ctx, r.org)
	if err != nil {
		return nil, err
	}
	o.Counts = new(ledger.Count)
	for _, c := range counts {
		o.Counts.Add(c)
	}
	return json.Marshal(&o)
}

func (g *Gateway) orgSet(ctx context.Context, r *request) ([]byte, error) {
	e, err := change(ctx, g, orgs, string(r.org), r)
	if err != nil {
		return nil, err
	}
	o := orgEntry(e)
	return json.Marshal(&o)
}

func (g *Gateway) orgList(ctx context.Context, r *request) ([]byte, error) {
	var req OrgsRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	all, err := g.l.Settings(ctx, ledger.KindOrg)
	if err != nil {
		return nil, err
	}
	reply := Orgs{Items: make([]Org, 0, len(all))}
	for _, e := range all {
		reply.Items = append(reply.Items, orgEntry(e))
	}
	if req.All {
		if err := g.addCounted(ctx, &reply); err != nil {
			return nil, err
		}
	}
	return json.Marshal(&reply)
}

// addCounted adds the orgs that have jobs and were never set, and the counts of all.
func (g *Gateway) addCounted(ctx context.Context, to *Orgs) error {
	counts, _, err := g.views.counts(ctx, "")
	if err != nil {
		return err
	}
	by := map[schemas.OrgID]*ledger.Count{}
	for _, o := range to.Items {
		by[o.Name] = new(ledger.Count)
	}
	for key, c := range counts {
		if by[key.Org] == nil {
			by[key.Org] = new(ledger.Count)
			to.Items = append(to.Items, orgOf(&schemas.OrgSettings{Name: key.Org}, SettingAuthor{}))
		}
		by[key.Org].Add(c)
	}
	for i := range to.Items {
		to.Items[i].Counts = by[to.Items[i].Name]
	}
	slices.SortFunc(to.Items, func(a, b Org) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return nil
}

// withheld refuses results while their org is suspended.
func (g *Gateway) withheld(ctx context.Context, org schemas.OrgID) error {
	if p := caller(ctx); p != nil && rights.Decide(p, rights.PayloadsRead, org) == rights.All {
		return nil
	}
	o, err := g.l.Org(ctx, org)
	if err != nil || o == nil || o.State != schemas.OrgSuspended {
		return err
	}
	return ledger.Errorf(ledger.CodeOrgSuspended, "org %s is suspended: its results are withheld until it is resumed", org)
}

// Org returns an org, and how many jobs it has.
func (c *Client) OrgInfo(ctx context.Context, org schemas.OrgID) (*Org, error) {
	return ask[Org](ctx, c.of(org), "org.info", nil)
}

// SetOrg adds or changes an org.
func (c *Client) SetOrg(ctx context.Context, org schemas.OrgID, r SetRequest) (*Org, error) {
	return ask[Org](ctx, c.of(org), "org.set", r)
}

// OrgHistory returns all settings that an org ever had.
func (c *Client) OrgHistory(ctx context.Context, org schemas.OrgID) (*SettingHistory, error) {
	return ask[SettingHistory](ctx, c.of(org), "org.history", nil)
}

// Orgs returns the orgs that were ever set.
func (c *Client) Orgs(ctx context.Context) (*Orgs, error) { return ask[Orgs](ctx, c, "org.ls", nil) }

// OrgsWithJobs returns those and all others that have jobs, with their counts.
func (c *Client) OrgsWithJobs(ctx context.Context) (*Orgs, error) {
	return ask[Orgs](ctx, c, "org.ls", OrgsRequest{All: true})
}

// of is a client of another org on the same connection.
func (c *Client) of(org schemas.OrgID) *Client {
	return &Client{Conn: c.Conn, Org: org, Timeout: c.Timeout}
}
