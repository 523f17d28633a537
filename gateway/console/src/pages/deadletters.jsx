import { Page } from "../ui/kit.jsx";
export const DeadLetters = () => <Page title="DeadLetters" />;
