// Shapes, drawn in 16 by 16. A state is told by its shape and its word; colour comes on top.
const paths = {
  submitted: <circle cx="8" cy="8" r="5" stroke-dasharray="2.6 2.6" />,
  queued: <><circle cx="8" cy="8" r="5.5" /><path d="M8 5v3l2 1.5" /></>,
  running: <path d="M5.5 3.5 12 8l-6.5 4.5z" fill="currentColor" />,
  retrying: <><path d="M12.8 7A5 5 0 1 0 12 10.9" /><path d="M13.2 3.6V7H9.8" /></>,
  completed: <path d="m3.5 8.5 3 3 6-7" />,
  canceled: <><circle cx="8" cy="8" r="5.5" /><path d="m4.3 11.7 7.4-7.4" /></>,
  dead_lettered: <path d="m4 4 8 8m0-8-8 8" />,
  overview: <><path d="M2.5 13.5h11" /><path d="M4 11V8m4 3V4m4 7V6" /></>,
  jobs: <path d="M2.5 4h11M2.5 8h11M2.5 12h7" />,
  dead: <><path d="M2.5 4h11v8.5h-11z" /><path d="m6 6.5 4 4m0-4-4 4" /></>,
  queues: <><path d="M2.5 3.5h11v3h-11zm0 6h11v3h-11z" /></>,
  types: <><path d="m8 2.5 5.5 3v5L8 13.5l-5.5-3v-5z" /><path d="m2.5 5.5 5.5 3 5.5-3M8 8.5v5" /></>,
  workers: <><rect x="3.5" y="3.5" width="9" height="9" rx="1" /><path d="M6.5 1.5v2m3-2v2m-3 9v2m3-2v2m-8-8h2m-2 3h2m9-3h2m-2 3h2" /></>,
  schedules: <><rect x="2.5" y="3.5" width="11" height="10" rx="1" /><path d="M2.5 6.5h11M5.5 2v3m5-3v3" /></>,
  orgs: <><path d="M2.5 13.5v-11h6v11m0-7h5v7M1.5 13.5h13" /><path d="M5 5.5h1m-1 3h1m4.5 0h1" /></>,
  tokens: <><circle cx="5.5" cy="10.5" r="3" /><path d="m7.7 8.3 5.8-5.8m-2.5 2.5 2 2" /></>,
  activity: <path d="M1.5 8.5h3l2-5 3 9 2-4h3" />,
  menu: <path d="M2 4h12M2 8h12M2 12h12" />,
  search: <><circle cx="7" cy="7" r="4.5" /><path d="m10.5 10.5 3.5 3.5" /></>,
  sun: <><circle cx="8" cy="8" r="3" /><path d="M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1m8 8 1 1M13 3l-1 1m-8 8-1 1" /></>,
  moon: <path d="M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z" />,
  auto: <><circle cx="8" cy="8" r="5.5" /><path d="M8 2.5v11A5.5 5.5 0 0 0 8 2.5z" fill="currentColor" /></>,
  pause: <path d="M5.5 3.5v9m5-9v9" />,
  play: <path d="M5 3.5 12 8l-7 4.5z" />,
  close: <path d="m4 4 8 8m0-8-8 8" />,
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1" /><path d="M10.5 3.5v-1h-8v8h1" /></>,
  check: <path d="m3.5 8.5 3 3 6-7" />,
  warn: <><path d="M8 2.5 14 13H2z" /><path d="M8 6.5v3m0 1.5v.5" /></>,
  chevron: <path d="m6 3.5 4.5 4.5L6 12.5" />,
  down: <path d="M3.5 6 8 10.5 12.5 6" />,
  plus: <path d="M8 3v10M3 8h10" />,
  link: <path d="M6.5 9.5 12.5 3.5m-4 0h4v4M10.5 9v4h-7V6H7" />,
  user: <><circle cx="8" cy="5.5" r="2.5" /><path d="M3 13.5c.5-3 2.500-4 5-4s4.500 1 5 4" /></>,
  download: <><path d="M8 2.500v8m-3-3 3 3 3-3" /><path d="M2.500 13.500h11" /></>,
};

export const Icon = ({ name, size = 16 }) => (
  <svg class="icon" width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    {paths[name]}
  </svg>
);
