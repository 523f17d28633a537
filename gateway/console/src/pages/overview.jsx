import { Page } from "../ui/kit.jsx";
export const Overview = () => <Page title="Overview" />;
