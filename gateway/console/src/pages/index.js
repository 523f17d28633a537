// The pages, in the order of the menu. view gets {name, counts}: name is what stands behind the page in the path, as in
// /o/acme/jobs/NAME; counts is the query of the org's counts. group "Cell" is what belongs to the whole installation.
// needs is the right without which a page shows nothing; whole: to all of the org; all: to the cell.
import { Overview } from "./overview.jsx";
import { Jobs } from "./jobs.jsx";
import { DeadLetters } from "./deadletters.jsx";
import { Schedules } from "./schedules.jsx";
import { Activity } from "./activity.jsx";
import { Queues } from "./queues.jsx";
import { Types } from "./types.jsx";
import { Workers } from "./workers.jsx";
import { Organizations } from "./organizations.jsx";
import { Tokens } from "./tokens.jsx";
import { may, mayAll, mayWhole } from "../lib/store.js";

export const pages = [
  { path: "", title: "Overview", icon: "overview", view: Overview, needs: "metrics.read", whole: true },
  { path: "jobs", title: "Jobs", icon: "jobs", view: Jobs },
  { path: "dead-letters", title: "Dead letters", icon: "dead", view: DeadLetters },
  { path: "schedules", title: "Schedules", icon: "schedules", view: Schedules, needs: "schedules.read" },
  { path: "activity", title: "Activity", icon: "activity", view: Activity },
  { path: "queues", title: "Queues", icon: "queues", view: Queues, group: "Cell", needs: "settings.read", all: true },
  { path: "types", title: "Types", icon: "types", view: Types, group: "Cell", needs: "settings.read" },
  { path: "workers", title: "Workers", icon: "workers", view: Workers, group: "Cell", needs: "workers.read", all: true },
  { path: "organizations", title: "Organizations", icon: "orgs", view: Organizations, group: "Cell", needs: "settings.read", all: true },
  { path: "tokens", title: "Tokens", icon: "tokens", view: Tokens, group: "Cell", needs: "tokens.edit", all: true },
];

export const pageOf = (path) => pages.find((p) => p.path === path);

// shown are the pages that would show something to whoever looks; the others stay, and say which right is missing.
export const shown = () => pages.filter((p) => !p.needs || (p.all ? mayAll : p.whole ? mayWhole : may)(p.needs));
