// The pages, in the order of the menu. view gets {name, counts}: name is what stands behind the page in the path, as in
// /o/acme/jobs/NAME; counts is the query of the org's counts. group "Cell" is what belongs to the whole installation.
import { Overview } from "./overview.jsx";
import { Jobs } from "./jobs.jsx";
import { DeadLetters } from "./deadletters.jsx";

export const pages = [
  { path: "", title: "Overview", icon: "overview", view: Overview },
  { path: "jobs", title: "Jobs", icon: "jobs", view: Jobs },
  { path: "dead-letters", title: "Dead letters", icon: "dead", view: DeadLetters },
];

export const pageOf = (path) => pages.find((p) => p.path === path);
