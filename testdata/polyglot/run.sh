#!/usr/bin/env bash
# run.sh JOBLEDGER NODE_MODULES: a publisher and a worker in JavaScript and a shell with curl, against a server that takes logins. Ends with 0
# if each got what it should.
set -euo pipefail
bin=$(realpath "$1")
modules=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
tmp=$(mktemp -d)
pids=()
finish() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$tmp"
}
trap finish EXIT
fail() { echo "polyglot: $*" >&2; tail -n 20 "$tmp"/*.log >&2 || true; exit 1; }
# line FILE PID: the first line of FILE, once it is there.
line() {
	for _ in $(seq 600); do
		if [ -s "$1" ]; then head -n 1 "$1"; return; fi
		kill -0 "$2" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}
export XDG_CONFIG_HOME=$tmp/config SECRET=polyglot JOBLEDGER_ORG=acme
cp "$here"/*.mjs "$tmp"
ln -s "$modules" "$tmp/node_modules"

# Two ports that are free now. The server refuses to start on one that was taken meanwhile.
read -r nats http < <(node -e 'const n=require("net"),a=n.createServer().listen(0,"127.0.0.1",()=>{const b=n.createServer().listen(0,"127.0.0.1",()=>{console.log(a.address().port,b.address().port);a.close();b.close()})})')
"$bin" server run --json --store "$tmp/store" --listen "127.0.0.1:$nats" --http "127.0.0.1:$http" --nats-login yes >"$tmp/ready" 2>"$tmp/server.log" &
pids+=($!)
line "$tmp/ready" $! >/dev/null || fail "the server did not start"
export NATS_URL=nats://127.0.0.1:$nats
api=http://127.0.0.1:$http/v1/orgs/acme
operator() { "$bin" --token "$(cat "$tmp/store/operator.secret")" "$@"; }
operator type add invoice --backoff 50ms,1,50ms --reason "polyglot" >/dev/null
operator org add acme --reason "polyglot" >/dev/null
token=$(operator org token add acme shop --role operator --reason "polyglot" 2>/dev/null)

node "$tmp/worker.mjs" >"$tmp/worker.url" 2>"$tmp/worker.log" &
pids+=($!)
url=$(line "$tmp/worker.url" $!) || fail "the worker's service did not start"
echo "$SECRET" >"$tmp/secret"
# Not by operator: the shell that a function runs in would be ended, and the worker left.
"$bin" --token "$(cat "$tmp/store/operator.secret")" worker run invoice --http "$url" --allow-private --secret-file "$tmp/secret" >"$tmp/attempts" 2>"$tmp/attempts.log" &
pids+=($!)

echo "JavaScript publishes, JavaScript works:"
node "$tmp/publisher.mjs" "$NATS_URL" "$token" acme | tee "$tmp/published" || fail "the publisher failed"
grep -q '"total":24.9' "$tmp/published" || fail "the total is wrong"

echo "curl publishes, and reads the answer and the feed:"
auth=(-sS --max-time 60 --fail-with-body -H "Authorization: Bearer $token")
id=$(curl "${auth[@]}" -d '{"type":"invoice","args":{"number":4712,"lines":[1,2,3]}}' "$api/jobs" | node -p 'JSON.parse(require("fs").readFileSync(0)).id')
curl "${auth[@]}" "$api/jobs/$id?wait=30s" >"$tmp/waited"; head -c 120 "$tmp/waited"; echo
grep -q '"state":"completed"' "$tmp/waited" || fail "the job did not complete"
curl "${auth[@]}" "$api/jobs/$id/result" | tee "$tmp/result"; echo
grep -q '"total":6' "$tmp/result" || fail "the total is wrong"
curl "${auth[@]}" "$api/jobs/$id/history" >"$tmp/history"
grep -q 'the printer warms up' "$tmp/history" || fail "the first attempt is not told of"
curl "${auth[@]}" -N --max-time 20 "$api/events?after=0&type=invoice" 2>/dev/null >"$tmp/feed" &
feed=$!
for _ in $(seq 150); do grep -q '"to":"completed"' "$tmp/feed" && break; sleep 0.1; done
kill "$feed" 2>/dev/null || true
grep -q '"to":"completed"' "$tmp/feed" || fail "the feed told nothing"
curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $token" "http://127.0.0.1:$http/v1/orgs/umbrella/jobs" | grep -q 403 || fail "another org answered"
operator log verify >/dev/null || fail "the ledger does not verify"
echo "polyglot: ok"
