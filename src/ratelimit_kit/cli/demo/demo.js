// @ts-check
// The demo page: sends requests, draws each response as it arrives, and shows what visitors see.

import { configure, loading, throttledFetch, toast } from "/ratelimit-kit/ratelimit.js";

const SPAN = 20_000; // milliseconds that a lane shows
const WIDTH = 600;
const HEIGHT = 64;
const SVG = "http://www.w3.org/2000/svg";
const ROOM = 10; // what each limit admits at most

const LANES = [
  { name: "sliding-window", limit: "10 in any 10 seconds: each request makes room when it is 10 seconds old.", window: () => 10_000 },
  { name: "token-bucket", limit: "1 a second, and a burst of 10: one token is added every second.", window: () => 1_000 },
  { name: "fixed-window", limit: "10 per calendar minute: the quota resets when the minute ends.", window: () => Date.now() % 60_000 },
];

/** @typedef {{ at: number, line: Element }} Mark */
/** @typedef {ReturnType<typeof makeLane>} Lane */

/** @template {Element} T @param {string} selector @param {new () => T} kind @param {ParentNode} [root] @returns {T} */
function find(selector, kind, root = document) {
  const element = root.querySelector(selector);
  if (element instanceof kind) return element;
  throw new Error(`the page has no ${selector}`);
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, `${value}`);
  return element;
}

/** @param {typeof LANES[number]} lane */
function makeLane({ name, limit, window }) {
  const copy = /** @type {DocumentFragment} */ (find("#lane", HTMLTemplateElement).content.cloneNode(true));
  const article = find("article", HTMLElement, copy);
  find("h2", HTMLElement, article).textContent = name.replace("-", " ");
  find(".limit", HTMLElement, article).textContent = limit;
  const svg = find("svg", SVGElement, article);
  svg.setAttribute("aria-label", `Requests of the last ${SPAN / 1000} seconds under the ${name}`);
  const shade = shape("rect", { class: "window", y: 0, height: HEIGHT });
  svg.append(shade, shape("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }));
  find("#lanes", HTMLElement).append(article);
  const lane = { name, window, svg, shade, article, marks: /** @type {Mark[]} */ ([]), counts: { admitted: 0, denied: 0 } };
  showRoom(lane, ROOM);
  return lane;
}

/** @param {{ article: Element }} lane @param {number} left */
function showRoom({ article }, left) {
  const room = find(".room", HTMLElement, article);
  const dots = Array.from({ length: ROOM }, (_, at) => {
    const dot = document.createElement("i");
    dot.className = at < left ? "free" : "taken";
    return dot;
  });
  room.replaceChildren(...dots, ` ${left} left`);
}

const last = find("#last", HTMLElement);
const lanes = LANES.map(makeLane);

/** @param {Response} response @param {string[]} names */
function fieldsOf(response, names) {
  return names.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
}

/** @param {Response} response */
async function describe(response) {
  const fields = fieldsOf(response, ["Retry-After", "RateLimit", "RateLimit-Policy", "Content-Type", "Cache-Control"]);
  last.textContent = [`HTTP ${response.status} ${response.statusText}`, ...fields, "", await response.clone().text()].join("\n");
}

/** @param {Lane} lane @param {"toast" | "none"} ui */
async function send(lane, ui) {
  /** @type {Response} */
  let response;
  try {
    response = await throttledFetch(`/hit/${lane.name}`, { method: "POST", rateLimit: { ui, network: false } });
  } catch (error) {
    last.textContent = `The server did not respond: ${error}. Is the demo still running?`;
    return;
  }
  const outcome = response.ok ? "admitted" : "denied";
  lane.counts[outcome] += 1;
  find(`.count.${outcome}`, HTMLElement, lane.article).textContent = `${lane.counts[outcome]}`;
  find(".fields", HTMLElement, lane.article).textContent = fieldsOf(response, ["RateLimit", "Retry-After"]).join("\n");
  showRoom(lane, Number(/;r=(\d+)/.exec(response.headers.get("RateLimit") ?? "")?.[1] ?? 0));
  const top = response.ok ? 4 : HEIGHT / 2 + 4;
  const line = shape("line", { class: outcome, "stroke-width": 3, y1: top, y2: top + HEIGHT / 2 - 8 });
  lane.svg.append(line);
  lane.marks.push({ at: performance.now(), line });
  await describe(response);
}

/** @param {"toast" | "none"} ui */
const sendAll = (ui) => void lanes.forEach((lane) => send(lane, ui));

/** @param {string} id @param {() => unknown} work */
const onClick = (id, work) => find(id, HTMLElement).addEventListener("click", work);

onClick("#one", () => sendAll("toast"));
onClick("#burst", () => Array.from({ length: 15 }, () => sendAll("toast")));

const form = find("#login", HTMLFormElement);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = /** @type {any} */ (new FormData(form));
  const post = throttledFetch(form.action, { method: "POST", body: new URLSearchParams(fields) });
  const response = await loading.wrap(post, "Signing in…").catch(() => undefined);
  if (!response) return;
  await describe(response);
  if (response.ok) toast.success("Signed in. That was the password");
  else if (response.status === 403) toast.error("Wrong password");
  else toast.warning("Not signed in");
});

onClick("#news", async () => {
  const response = await throttledFetch("/news", { rateLimit: { retries: 3 } }).catch(() => undefined);
  if (!response) return;
  await describe(response);
  if (response.ok) toast.info(await response.text());
});

const WORDS = { success: "Your changes were saved", error: "The file could not be read", warning: "Your session ends soon", info: "A new version is available" };
for (const [kind, words] of Object.entries(WORDS)) {
  onClick(`[data-toast=${kind}]`, () => toast.show(words, /** @type {keyof typeof WORDS} */ (kind)));
}
onClick("#loading", () => loading.wrap(new Promise((done) => setTimeout(done, 1500))));
onClick("#offline", () => {
  // Nothing listens on port 9 of this machine: a real failure of the network.
  throttledFetch("http://127.0.0.1:9/").catch((error) => { last.textContent = `${error}`; });
});

const languages = find("#language", HTMLSelectElement);
languages.addEventListener("change", () => configure({ lang: languages.value }));

const rate = find("#rate", HTMLInputElement);
const stream = find("#stream", HTMLInputElement);
rate.addEventListener("input", () => { find("#rate-shown", HTMLElement).textContent = rate.value; });
let due = 0;

/** @param {number} now */
function draw(now) {
  if (stream.checked && now >= due) {
    due = now + 1000 / Number(rate.value);
    sendAll("none");
  }
  for (const lane of lanes) {
    const width = Math.min(WIDTH, (lane.window() / SPAN) * WIDTH);
    lane.shade.setAttribute("x", `${WIDTH - width}`);
    lane.shade.setAttribute("width", `${width}`);
    while (lane.marks.length && now - lane.marks[0].at > SPAN) lane.marks.shift()?.line.remove();
    for (const { at, line } of lane.marks) {
      const x = `${WIDTH - ((now - at) / SPAN) * WIDTH}`;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
