package historydb

// tables are the columns of a file: further ones come at the end.
const tables = `
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE events (
	seq INTEGER PRIMARY KEY, time TEXT NOT NULL, event TEXT NOT NULL, actor TEXT NOT NULL, org TEXT, id TEXT, type TEXT,
	generation INTEGER, attempt INTEGER, from_state TEXT, to_state TEXT, reason TEXT, quarantined TEXT, data TEXT);
CREATE TABLE jobs (
	org TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, queue TEXT NOT NULL, priority TEXT NOT NULL, state TEXT NOT NULL, reason TEXT,
	generation INTEGER NOT NULL, attempt INTEGER NOT NULL, attempts_used INTEGER NOT NULL, max_attempts INTEGER, owner TEXT, submitted_by TEXT,
	submitted_at TEXT NOT NULL, not_before TEXT, deadline TEXT, queued_at TEXT, started_at TEXT, finished_at TEXT, retry_at TEXT, worker TEXT,
	error_class TEXT, error_code TEXT, error_message TEXT, resolution TEXT, batch TEXT, key TEXT, tags TEXT, parents TEXT, flags TEXT,
	correlation_id TEXT, causation_id TEXT, submitted_seq INTEGER NOT NULL, seq INTEGER NOT NULL,
	PRIMARY KEY (org, id)) WITHOUT ROWID;
`

// views are made when the rows are there. Those on attempts and payloads know of the events that were chosen.
const views = `
CREATE INDEX events_of_job ON events (org, id, seq);
CREATE INDEX jobs_by_type ON jobs (type, state);
CREATE VIEW counts AS SELECT org, state, count(*) AS jobs FROM jobs GROUP BY org, state;
CREATE VIEW counts_by_type AS SELECT org, type, queue, state, count(*) AS jobs FROM jobs GROUP BY org, type, queue, state;
CREATE VIEW dead_letters AS SELECT * FROM jobs WHERE state = 'dead_lettered';
CREATE VIEW errors AS SELECT org, type, error_class, error_code, count(*) AS jobs, max(seq) AS last_seq FROM jobs
	WHERE error_class IS NOT NULL GROUP BY org, type, error_class, error_code;
CREATE VIEW actors AS SELECT org, actor, event, count(*) AS events, min(time) AS first_at, max(time) AS last_at FROM events GROUP BY org, actor, event;
CREATE VIEW per_minute AS SELECT org, substr(time, 1, 16) AS minute, event, count(*) AS events FROM events GROUP BY org, minute, event;
CREATE VIEW attempts AS SELECT r.org, r.id, r.type, r.generation, r.attempt, r.time AS started_at, e.time AS ended_at, e.event AS outcome,
	(julianday(e.time) - julianday(r.time)) * 86400 AS seconds
	FROM events r LEFT JOIN events e ON e.seq = (SELECT min(x.seq) FROM events x
		WHERE x.org = r.org AND x.id = r.id AND x.seq > r.seq AND x.from_state = 'running' AND x.to_state <> 'running')
	WHERE r.event = 'running';
CREATE VIEW payloads AS SELECT org, id, generation, seq, event, data -> '$.args' AS args, data -> '$.result' AS result FROM events
	WHERE event IN ('submitted', 'completed');
`

const (
	insertEvent = `INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertJob   = `INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)
