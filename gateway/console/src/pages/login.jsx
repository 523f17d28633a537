// Logging in with a token: the server keeps it in a cookie that no script can read.
import { useState } from "preact/hooks";
import { post } from "../lib/api.js";
import { loc } from "../lib/router.js";
import { Button, Field } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";

export function Login({ done }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (e) => {
    e.preventDefault();
    setBusy(true);
    try {
      await post("login", { token: token.trim() });
      const to = loc.value.query.get("to") || "/";
      done(/^\/(o\/[\w\-/.%]*(\?[^#]*)?)?$/.test(to) ? to : "/");
    } catch (err) {
      setError(err.status === 401 ? "This token opens nothing: it is mistyped, expired or revoked." : err.message);
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form class="card" onSubmit={submit}>
        <h1><Icon name="jobs" size={22} /> jobledger</h1>
        <Field label="Token" error={error} help="As shown once by: jobledger org token add ORG NAME --role ROLE">
          <input type="password" name="token" autocomplete="current-password" autofocus required value={token} onInput={(e) => setToken(e.target.value)} />
        </Field>
        <button class="btn primary" disabled={busy} aria-busy={busy ? "true" : undefined}>Log in</button>
      </form>
    </main>
  );
}
