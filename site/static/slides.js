// One slide at a time: arrows, Page Up and Down, space and the buttons; N shows what to say. The address keeps the place.
const slides = [...document.querySelectorAll("section")];
let now = 0;
document.body.classList.add("live");
function show(number, keep) {
  now = Math.min(Math.max(number, 0), slides.length - 1);
  slides.forEach((slide, place) => slide.classList.toggle("now", place === now));
  document.getElementById("place").textContent = `${now + 1} / ${slides.length}`;
  if (!keep) history.replaceState(null, "", `#s${now + 1}`);
  window.scrollTo(0, 0);
}
function notes() {
  const shown = document.body.classList.toggle("notes");
  document.getElementById("notes").setAttribute("aria-pressed", shown);
}
const keys = {
  ArrowRight: () => show(now + 1), ArrowLeft: () => show(now - 1), PageDown: () => show(now + 1), PageUp: () => show(now - 1),
  Home: () => show(0), End: () => show(slides.length - 1), n: notes, N: notes,
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.tagName !== "BUTTON") { event.preventDefault(); show(now + (event.shiftKey ? -1 : 1)); }
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
addEventListener("hashchange", () => show(Number(location.hash.slice(2)) - 1 || 0, true));
document.getElementById("back").addEventListener("click", () => show(now - 1));
document.getElementById("on").addEventListener("click", () => show(now + 1));
document.getElementById("notes").addEventListener("click", notes);
show(Number(location.hash.slice(2)) - 1 || 0, true);
