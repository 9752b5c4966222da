// Sphinx counts a word in any heading as if it stood in the page's title, so the page about a subject was rarely first.
const wordsOf = (text) => {
  const stemmer = new Stemmer();
  return splitQuery(text.toLowerCase())
    .filter((word) => !stopwords.has(word))
    .map((word) => stemmer.stemWord(word));
};

var Scorer = {
  score: ([page, title, anchor, , score, , kind]) => {
    const asked = wordsOf(new URLSearchParams(location.search).get("q") || "");
    const named = wordsOf(kind === "object" ? title.split(".").pop() : title);
    const found = asked.filter((word) => named.includes(word)).length;
    const bonus = kind === "title" && anchor ? 10 : 20; // a section comes after the page that is all about the subject
    const depth = page.split("/").length; // a folder in a folder is about special cases, such as migration
    return score + found + (found && found === asked.length ? bonus : 0) - depth;
  },
  // Sphinx's own values, which it leaves out where there is a Scorer.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
