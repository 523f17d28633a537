// The pages, in the order of the menu. view gets {name, counts}: name is what stands behind the page in the path, as in
// /o/acme/jobs/NAME; counts is the query of the org's counts. group "Cell" is what belongs to the whole installation.
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

export const pages = [
  { path: "", title: "Overview", icon: "overview", view: Overview },
  { path: "jobs", title: "Jobs", icon: "jobs", view: Jobs },
  { path: "dead-letters", title: "Dead letters", icon: "dead", view: DeadLetters },
  { path: "schedules", title: "Schedules", icon: "schedules", view: Schedules },
  { path: "activity", title: "Activity", icon: "activity", view: Activity },
  { path: "queues", title: "Queues", icon: "queues", view: Queues, group: "Cell" },
  { path: "types", title: "Types", icon: "types", view: Types, group: "Cell" },
  { path: "workers", title: "Workers", icon: "workers", view: Workers, group: "Cell" },
  { path: "organizations", title: "Organizations", icon: "orgs", view: Organizations, group: "Cell" },
  { path: "tokens", title: "Tokens", icon: "tokens", view: Tokens, group: "Cell" },
];

export const pageOf = (path) => pages.find((p) => p.path === path);
