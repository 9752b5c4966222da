import { loading, toast } from "/ratelimit-kit/ratelimit.js";

window.bodyThen = document.body;
toast.show("Shown before the body", "success", { duration: 0 });
loading.showError({ title: "Also before the body" });
fetch("/early-ran");
