// Argilla's page, changed: Backspace asks before it discards, and only deletes letters where text is written.
// Argilla discards the task at once.
"use strict";

const TEXT = "input:not([type=checkbox], [type=radio]), textarea, [contenteditable]";
const QUESTION = "Discard this task? It then counts as answered by you.";
const discards = (event) =>
  event.code === "Backspace" && !event.shiftKey && document.querySelector(".questions-form");
const writes = (event) => event.target.closest?.(TEXT);

window.addEventListener(
  "keydown",
  (event) => {
    if (!discards(event) || writes(event) || window.confirm(QUESTION)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true // before Argilla's own listeners
);

document.documentElement.addEventListener("keydown", (event) => {
  if (discards(event) && writes(event)) event.stopPropagation(); // Argilla listens on the document
});
