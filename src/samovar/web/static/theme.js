// Which theme holds, before anything is painted: "system", "light" or "dark". A classic script, since modules come later.
// main.js has the button; what was chosen is remembered in this browser.
"use strict";

const theme = {
  choices: ["system", "light", "dark"],

  get chosen() {
    try {
      const kept = localStorage.getItem("samovar-theme");
      return this.choices.includes(kept) ? kept : "system";
    } catch {
      return "system"; // a browser that keeps nothing
    }
  },

  choose(choice) {
    try {
      localStorage.setItem("samovar-theme", choice);
    } catch {
      // it holds until the page is closed
    }
    this.show(choice);
  },

  show(choice) {
    document.documentElement.dataset.theme = choice;
  },
};

theme.show(theme.chosen);
window.samovarTheme = theme;
