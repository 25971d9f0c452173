"use strict";
// Keys, selection and the live list. The pages work without it.
const MOST_ROWS = 500;
const find = (selector) => document.querySelector(selector);

const themeNow = () =>
  document.documentElement.dataset.theme ||
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
find("#theme")?.addEventListener("click", () => {
  const theme = themeNow() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
});
find("#help")?.addEventListener("click", () => find("#keys").showModal());

// Lines of a list, or the sections of a page.
const stops = () => {
  const lines = [...document.querySelectorAll(".list tbody a:not([tabindex='-1'])")];
  return lines.length ? lines : [...document.querySelectorAll(".sections > section")];
};
function step(by) {
  const all = stops();
  const at = all.findIndex((one) => one === document.activeElement || one.contains(document.activeElement)
    || one.closest("tr")?.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function picked() {
  return [...document.querySelectorAll("#rows input[name=alert]:checked")];
}
function showPicked() {
  const bar = find("#bulk-bar");
  if (!bar) return;
  bar.hidden = picked().length === 0;
  find("#bulk-count").textContent = `${picked().length} selected`;
}
find("#rows")?.addEventListener("change", showPicked);

let before = "";
const keys = {
  j: () => step(1),
  k: () => step(-1),
  x: () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
  "/": () => find("#search") ? find("#search").focus() : location.assign("/console"),
  "?": () => find("#keys").showModal(),
  u: () => find("#up")?.click(),
  c: () => (find("#verdict") || find("#bulk-bar:not([hidden]) select"))?.focus(),
  n: () => find("#note")?.focus(),
  m: () => find("#assign")?.click(),
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
  if (event.key === "Escape" && typing && !event.target.closest("dialog")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const going = before === "g" && find(`[data-go="${CSS.escape(event.key)}"]`);
  before = event.key;
  const act = going ? () => going.click() : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// The live list: an alert that comes again takes the place of its older line.
const rows = find("#rows");
const live = find("#live");
const say = (text, on) => {
  if (!live) return;
  live.textContent = text;
  live.classList.toggle("on", on);
};
document.body.addEventListener("htmx:sseOpen", () => say("live", true));
document.body.addEventListener("htmx:sseError", () => say("connecting again", false));
document.body.addEventListener("htmx:sseMessage", () => {
  if (!rows) return;
  rows.querySelector(".nothing")?.remove();
  const came = rows.firstElementChild;
  const older = [...rows.querySelectorAll("tr[data-alert]")].filter(
    (one) => one !== came && one.dataset.alert === came.dataset.alert);
  if (older.some((one) => one.querySelector("input")?.checked)) came.querySelector("input").checked = true;
  older.forEach((one) => one.remove());
  if (came.dataset.status === "retracted") came.remove();
  const all = rows.querySelectorAll("tr[data-alert]");
  for (let at = all.length - 1; at >= MOST_ROWS; at--) all[at].remove();
  showPicked();
});

// What colleagues said meanwhile. Nobody looks at a hidden page.
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.id === "pulse") event.preventDefault();
});
let heard;
document.body.addEventListener("htmx:afterSettle", () => {
  for (const said of document.querySelectorAll("#pulse [data-of]")) {
    const state = document.getElementById(`s-${said.dataset.of}`);
    if (!state) continue;
    state.textContent = said.textContent;
    state.closest("tr").dataset.status = said.dataset.status;
  }
  const shown = find("#sections[data-of]");
  if (!shown || !find("#pulse .counts")) return;
  const said = find(`#pulse [data-of="${CSS.escape(shown.dataset.of)}"]`)?.textContent ?? "";
  if (heard !== undefined && said !== heard) htmx.trigger(shown, "said");
  heard = said;
});
