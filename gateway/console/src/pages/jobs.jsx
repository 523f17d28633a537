import { Page } from "../ui/kit.jsx";
export const Jobs = () => <Page title="Jobs" />;
