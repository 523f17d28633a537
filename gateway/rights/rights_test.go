package rights_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/schemas"
)

// TestTableIsDocumented compares each cell with docs/RIGHTS.md, which is written by hand from REQUIREMENTS 8 (R-621..R-633).
func TestTableIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/RIGHTS.md")
	if err != nil {
		t.Fatal(err)
	}
	var roles []schemas.Role
	seen := map[rights.Action]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "action":
			for _, c := range cells[1 : len(cells)-1] {
				roles = append(roles, schemas.Role(c))
			}
		case len(cells) == len(roles)+2 && strings.Contains(cells[0], "."):
			a := rights.Action(cells[0])
			seen[a] = true
			for i, role := range roles {
				want := rights.Reach(strings.Trim(cells[i+1], "-"))
				grant := rights.Grant{Org: "acme", Role: role}
				if role == schemas.RoleAdmin {
					grant.Org = ""
				}
				p := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "ada"}, Grants: []rights.Grant{grant}}
				if got := rights.Decide(p, a, "acme"); got != want {
					t.Errorf("%s of a %s reaches %q, documented is %q", a, role, got, want)
				}
				if other := rights.Decide(p, a, "other"); role != schemas.RoleAdmin && other != rights.None {
					t.Errorf("%s of a %s of acme reaches %q of another org", a, role, other)
				}
			}
		}
	}
	for _, role := range schemas.Roles() {
		grant := rights.Grant{Org: "acme", Role: role}
		if role == schemas.RoleAdmin {
			grant.Org = ""
		}
		if got := rights.Decide(&rights.Principal{Grants: []rights.Grant{grant}}, rights.JobsSubmit, "acme"); role.Submits() != (got != rights.None) {
			t.Errorf("a %s submits: %v, by the table its reach is %q", role, role.Submits(), got)
		}
		if got := rights.Decide(&rights.Principal{Grants: []rights.Grant{grant}}, rights.JobsBulk, "acme"); role.Bulks() != (got != rights.None) {
			t.Errorf("a %s asks for bulks: %v, by the table its reach is %q", role, role.Bulks(), got)
		}
	}
	if len(roles) != len(schemas.Roles()) {
		t.Errorf("%d roles are documented, there are %v", len(roles), schemas.Roles())
	}
	for _, a := range rights.Actions() {
		if !seen[a] {
			t.Errorf("%s is not documented", a)
		}
	}
}

// TestCovers shows whose jobs each reach touches.
func TestCovers(t *testing.T) {
	ada := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	jobs := map[string]rights.Job{
		"own":            {Owner: "user:ada", SubmittedBy: "user:ada"},
		"for ada":        {Owner: "user:ada", SubmittedBy: "service_account:shop"},
		"by ada for bob": {Owner: "user:bob", SubmittedBy: "user:ada"},
		"bob's":          {Owner: "user:bob", SubmittedBy: "user:bob"},
		"nobody's":       {},
	}
	want := map[rights.Reach][]string{
		rights.None:      nil,
		rights.Held:      nil,
		rights.Own:       {"own", "for ada"},
		rights.Submitted: {"own", "for ada", "by ada for bob"},
		rights.Org:       {"own", "for ada", "by ada for bob", "bob's", "nobody's"},
		rights.All:       {"own", "for ada", "by ada for bob", "bob's", "nobody's"},
	}
	for reach, names := range want {
		for name, j := range jobs {
			covered := false
			for _, n := range names {
				covered = covered || n == name
			}
			if got := reach.Covers(ada, j); got != covered {
				t.Errorf("%q covers the job %q: %v", reach, name, got)
			}
		}
	}
	if (rights.Own).Covers(&rights.Principal{}, jobs["nobody's"]) {
		t.Error("who has no name owns the jobs of nobody")
	}
}

// TestGrantsOfOneOrg: what somebody is elsewhere counts for nothing here, and a misplaced admin is none.
func TestGrantsOfOneOrg(t *testing.T) {
	p := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "ada"}, Grants: []rights.Grant{
		{Org: "acme", Role: schemas.RoleAuditor}, {Org: "umbrella", Role: schemas.RoleOperator, Permissions: []string{"fax"}},
		{Org: "other", Role: schemas.RoleAdmin}, {Role: schemas.RoleOperator}}}
	for _, c := range []struct {
		org  schemas.OrgID
		a    rights.Action
		want rights.Reach
	}{
		{"acme", rights.JobsRead, rights.Org}, {"acme", rights.JobsCancel, rights.None}, {"umbrella", rights.JobsCancel, rights.Org},
		{"umbrella", rights.LogRead, rights.None}, {"other", rights.JobsRead, rights.None}, {"", rights.JobsRead, rights.None}, {"acme", "jobs.invent", rights.None},
	} {
		if got := rights.Decide(p, c.a, c.org); got != c.want {
			t.Errorf("%s in org %q reaches %q, want %q", c.a, c.org, got, c.want)
		}
	}
	member := &rights.Principal{Grants: []rights.Grant{{Org: "acme", Role: schemas.RoleMember, Permissions: []string{"fax"}}}}
	if !rights.MayUse(member, "acme", "fax") || !rights.MayUse(member, "acme", "") || rights.MayUse(member, "acme", "mail") || rights.MayUse(member, "other", "") {
		t.Error("a member's permissions open what they name, in its org")
	}
}
