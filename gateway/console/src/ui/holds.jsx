// The holds on a thing, each with who laid it and a way to lift it.
import { may, mayAll, org } from "../lib/store.js";
import { holdText, resume } from "../lib/holds.js";
import { Button, Time } from "./kit.jsx";
import { Icon } from "./icons.jsx";

export const Holds = ({ holds, what, done }) => (
  <ul class="notes">
    {holds.map((h) => (
      <li key={h.hold_id}>
        <Icon name="pause" />
        <div>
          <strong>Paused: {holdText(h.scope)}</strong>{h.until && <> until <Time at={h.until} abs /></>}
          <p class="faint">{h.reason}{h.updated_by && <> · {h.updated_by}</>}{h.updated_at && <> · <Time at={h.updated_at} /></>}</p>
        </div>
        {(h.scope.org === org.value ? may("holds.org") : mayAll("holds.platform")) && <Button class="small" icon="play" onClick={async () => (await resume(h, what)) && done()}>Resume</Button>}
      </li>
    ))}
  </ul>
);
