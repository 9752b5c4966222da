// The demo page: sends requests, and draws each answer where and when it came.

const SPAN = 20_000; // milliseconds that a lane shows
const WIDTH = 600;
const HEIGHT = 64;
const SVG = "http://www.w3.org/2000/svg";

const LANES = [
  { name: "sliding-window", limit: "10 in any 10 seconds: the oldest request makes room for the next", window: () => 10_000 },
  { name: "token-bucket", limit: "1 a second, and a burst of 10: a token comes back every second", window: () => 1_000 },
  { name: "fixed-window", limit: "10 per calendar minute: all come back when the minute ends", window: () => Date.now() % 60_000 },
];

const template = document.getElementById("lane");
const last = document.getElementById("last");

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function makeLane({ name, limit, window }) {
  const article = template.content.cloneNode(true).querySelector("article");
  article.querySelector("h2").textContent = name.replace("-", " ");
  article.querySelector(".limit").textContent = limit;
  const svg = article.querySelector("svg");
  svg.setAttribute("aria-label", `Requests of the last ${SPAN / 1000} seconds under the ${name}`);
  const shade = shape("rect", { class: "window", y: 0, height: HEIGHT });
  svg.append(shade, shape("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }));
  document.getElementById("lanes").append(article);
  return { name, window, svg, shade, marks: [], counts: { admitted: 0, denied: 0 }, article };
}

const lanes = LANES.map(makeLane);

function describe(response, body) {
  const shown = ["retry-after", "ratelimit", "ratelimit-policy", "content-type", "cache-control"];
  const fields = shown.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
  return [`HTTP ${response.status} ${response.statusText}`, ...fields, "", body].join("\n");
}

async function send(lane) {
  let outcome = "denied";
  try {
    const response = await fetch(`/hit/${lane.name}`, { method: "POST" });
    outcome = response.ok ? "admitted" : "denied";
    last.textContent = describe(response, await response.text());
    const left = /;r=(\d+)/.exec(response.headers.get("ratelimit") ?? "");
    lane.article.querySelector(".left").textContent = left ? `(${left[1]} left)` : "";
  } catch (error) {
    last.textContent = `The server did not answer: ${error.message}. Is the demo still running?`;
    return;
  }
  lane.counts[outcome] += 1;
  lane.article.querySelector(`.counts .${outcome}`).textContent = lane.counts[outcome];
  const top = outcome === "admitted" ? 4 : HEIGHT / 2 + 2;
  const line = shape("line", { class: outcome, "stroke-width": 3, y1: top, y2: top + HEIGHT / 2 - 8 });
  lane.svg.append(line);
  lane.marks.push({ at: performance.now(), line });
}

const sendAll = () => lanes.forEach(send);

document.getElementById("one").addEventListener("click", sendAll);
document.getElementById("burst").addEventListener("click", () => {
  for (let i = 0; i < 15; i += 1) sendAll();
});

const rate = document.getElementById("rate");
const stream = document.getElementById("stream");
let due = 0;
rate.addEventListener("input", () => { document.getElementById("rate-shown").textContent = rate.value; });

function draw(now) {
  if (stream.checked && now >= due) {
    due = now + 1000 / Number(rate.value);
    sendAll();
  }
  for (const lane of lanes) {
    const width = Math.min(WIDTH, (lane.window() / SPAN) * WIDTH);
    lane.shade.setAttribute("x", WIDTH - width);
    lane.shade.setAttribute("width", width);
    while (lane.marks.length && now - lane.marks[0].at > SPAN) lane.marks.shift().line.remove();
    for (const { at, line } of lane.marks) {
      const x = WIDTH - ((now - at) / SPAN) * WIDTH;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
