// What JSX is compiled to; esbuild injects it into every module.
export { h as jsx, Fragment } from "preact";
