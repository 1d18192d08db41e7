// The page is complete without this. It adds: fresh fragments when something changed, relative times that move on,
// following of logs, and a button that copies a trailer. It never writes anything anywhere.
"use strict";

const $ = (id) => document.getElementById(id);

// Relative times, in the same words as the server's.
function span(ms) {
  const s = Math.floor(Math.abs(ms) / 1000);
  if (s < 100) return s + " s";
  if (s < 6000) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}
function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-time]")) {
    const age = Date.now() - Date.parse(time.dateTime);
    const text = time.dataset.time === "age" ? span(age) : age < 0 ? "in " + span(age) : span(age) + " ago";
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);

// Fragments: asked for again when the server says that something changed. What is being read or used is left alone
// until it is not.
let asking = false, again = false, waiting = null;
function inUse(part) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  const active = document.activeElement;
  return selected || (active && active !== part && part.contains(active));
}
// What the server sent last, without the words of relative times: only a real difference replaces anything.
const sent = new WeakMap();
const essence = (part) => part.className + part.innerHTML.replace(/(<time[^>]*>)[^<]*/g, "$1");
for (const part of document.querySelectorAll("[data-live]")) sent.set(part, essence(part));
function put(part, fresh) {
  const now = essence(fresh);
  if (sent.get(part) === now) return true;
  if (inUse(part)) return false;
  sent.set(part, now);
  part.className = fresh.className;
  const scrolled = [...part.querySelectorAll(".scroll, .code")].map((box) => box.scrollLeft);
  const opened = new Set([...part.querySelectorAll("details[open]")].map((fold) => fold.dataset.key));
  part.replaceChildren(...document.importNode(fresh, true).childNodes);
  part.querySelectorAll(".scroll, .code").forEach((box, i) => { box.scrollLeft = scrolled[i] || 0; });
  for (const fold of part.querySelectorAll("details")) fold.open = opened.has(fold.dataset.key);
  buttons(part);
  return true;
}
async function refresh() {
  if (asking) { again = true; return; }
  asking = true;
  clearTimeout(waiting);
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    let all = true;
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (other) all = put(part, other) && all;
    }
    if (answer.ok) {
      document.title = fresh.title;
      const icon = fresh.getElementById("icon");
      if (icon && $("icon").href !== icon.href) $("icon").href = icon.href;
    }
    if (!all) waiting = setTimeout(refresh, 3000);
    tick();
  } catch { /* asked again, or the stream tells when the daemon is back */ }
  asking = false;
  if (again) { again = false; soon(); }
}
let due = null;
function soon() { due ??= setTimeout(() => { due = null; refresh(); }, 700); }

function say(text) { const live = $("live"); if (live && live.textContent !== text) live.textContent = text; }
let stream = null;
function listen() {
  if (stream) return;
  const own = stream = new EventSource("/api/v1/stream");
  let first = true;
  stream.addEventListener("board", () => { if (first) first = false; else soon(); say("Live."); });
  stream.addEventListener("event", soon);
  stream.onerror = () => {
    if (own.readyState !== EventSource.CLOSED) { say("The daemon does not answer; this is what was last known."); return; }
    // Refused, and so not tried again by itself: there are as many streams as there may be.
    if (stream !== own) return;
    stream = null;
    say("Not live: no further stream is given; this is asked for every 15 s.");
    setTimeout(() => { if (!document.hidden) listen(); }, 30000);
  };
  stream.onopen = () => { say("Live."); if (!first) soon(); };
}
// A tab in the background gives its stream back (a browser opens only six connections to one place) and asks now and
// then, since its title and icon still tell how things stand. So does one that was given none.
setInterval(() => { if (document.hidden || !stream) refresh(); }, 15000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { listen(); refresh(); } else { stream?.close(); stream = null; }
});
if (!document.hidden) listen();

// Copying a trailer.
function buttons(root) {
  for (const code of root.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard || code.nextElementSibling?.classList.contains("copy")) continue;
    const button = document.createElement("button");
    button.type = "button"; button.className = "copy"; button.textContent = "Copy";
    button.onclick = async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; button.blur(); }, 1500);
    };
    code.after(button);
  }
}
buttons(document);

// Logs: follow at the end; whoever scrolls up is left to read.
const log = $("log"), follow = $("follow");
if (log && follow) {
  const most = 2000;
  let lines = null;
  follow.hidden = false;
  log.scrollTop = log.scrollHeight;
  const add = (line) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const row = document.createElement("span"), time = document.createElement("time"), who = document.createElement("span");
    row.className = "line " + (line.stream === "stderr" ? "stderr" : "stdout");
    time.dateTime = line.at; time.textContent = line.at.slice(11, 19);
    who.className = "who"; who.textContent = line.instance;
    row.append(time, " ", who, " " + line.line + "\n");
    log.append(row);
    while (log.childElementCount > most && atEnd) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  const stop = () => { lines?.close(); lines = null; follow.textContent = "Follow"; follow.setAttribute("aria-pressed", "false"); };
  const start = () => {
    lines = new EventSource(log.dataset.logs + "?follow=true&tail=0");
    lines.addEventListener("line", (event) => add(JSON.parse(event.data)));
    lines.onerror = () => { if (lines?.readyState === EventSource.CLOSED) stop(); };
    follow.textContent = "Pause"; follow.setAttribute("aria-pressed", "true");
  };
  follow.onclick = () => { if (lines) stop(); else start(); };
}
