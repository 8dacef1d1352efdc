// SPDX-License-Identifier: GPL-2.0-only
// The only script of the page, and it can do without: shows the field for names and hides what does not have each word of it.
"use strict";
const field = document.getElementById("q");
document.getElementById("q-label").hidden = false;
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/);
  const has = (name) => words.every((word) => name.includes(word));
  for (const one of document.querySelectorAll(".case")) {
    const name = (one.querySelector("th") ?? one.querySelector("summary")).textContent.toLowerCase();
    let any = false;
    for (const cond of one.querySelectorAll(".cond")) {
      const shown = has(cond.dataset.n?.toLowerCase() ?? `${name} ${cond.title.toLowerCase()}`);
      cond.classList.toggle("no", !shown);
      any ||= shown;
    }
    one.classList.toggle("no", !any);
  }
  for (const one of document.querySelectorAll("article")) {
    one.classList.toggle("no", !has(one.dataset.n.toLowerCase()));
  }
});
