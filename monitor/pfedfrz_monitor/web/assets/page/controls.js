// What may be asked of the coordinator, for who has the token.
import { by, element, setText } from "./dom.js";
import { store } from "./store.js";

const KEPT = "pfedfrz-token";
let token = "";

// From the part of the address that browsers keep to themselves; then it leaves the address bar.
export function findToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    keepToken(given);
    history.replaceState(null, "", location.pathname);
  } else {
    try { token = sessionStorage.getItem(KEPT) ?? ""; } catch { token = ""; }
  }
}

export function keepToken(given) {
  token = given;
  try { sessionStorage.setItem(KEPT, given); } catch { /* until the page is loaded again, then */ }
}

export const currentToken = () => token;
// Of a federation that is over nothing can be asked: its coordinator has ended.
export const mayAct = () => store.acts && token !== "" && store.head?.desired !== "stop";

export async function ask(action) {
  let answer;
  try {
    const response = await fetch("/act", {
      method: "POST", body: JSON.stringify(action), cache: "no-store",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    });
    answer = await response.json();
  } catch {
    answer = { done: false, detail: "the monitor does not answer" };
  }
  toast(answer.detail || (answer.done ? "done" : "refused"), answer.done);
  return answer;
}

export function toast(text, good) {
  const made = element("p", { class: good ? "toast" : "toast refused" }, text);
  by("toasts").append(made);
  setTimeout(() => made.remove(), good ? 5000 : 12000);
}

export function drawPause() {
  const button = by("pause"), desired = store.head?.desired;
  button.hidden = !mayAct() || !desired || desired === "stop";
  setText(button, desired === "pause" ? "Resume" : "Pause");
  button.disabled = !store.connected || !store.head?.connected;
}

export async function pauseOrResume() {
  const button = by("pause");
  if (button.hidden || button.disabled) return;
  button.disabled = true;
  await ask({ type: store.head.desired === "pause" ? "resume" : "pause" });
  drawPause();
}
by("pause").addEventListener("click", pauseOrResume);
