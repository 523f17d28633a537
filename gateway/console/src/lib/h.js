// What JSX is compiled to; esbuild injects it into every module.
export { h, Fragment } from "preact";
