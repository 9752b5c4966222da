import { installFetch, loading, throttledFetch, toast } from "/ratelimit-kit/ratelimit.js";

installFetch();
for (const kind of ["success", "error", "warning", "info"]) toast.show(`<b>${kind}</b>`, kind, { duration: 0 });
await loading.wrap(fetch("/page/plain.html"), "Waiting");
throttledFetch("/canned/strict?h=Retry-After: 3", { method: "POST" });
document.addEventListener("click", () => {
  // Shows that the policy is in force, and that the list of violations would show it.
  try { document.querySelector("h1").innerHTML = "<b>forbidden</b>"; } catch { window.forbidden = true; }
});
