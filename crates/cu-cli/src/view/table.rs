//! Tables for people. On a terminal a table fits its width: long cells are cut, and where that is not
//! enough, the last columns are left out and named. In a pipe a table is complete.

use std::iter::once;

use owo_colors::{AnsiColors, OwoColorize};

use super::canvas::Line;
use crate::text::width::{columns, cut, one_line};
use crate::text::wrap;

/// The blanks between two columns.
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    /// Numbers are aligned at their end.
    is_number: bool,
    /// The least width that its cells may be cut to; they are never cut if there is none.
    least: Option<usize>,
    /// Its cells are states, which have colours.
    has_states: bool,
    /// The column with the highest rank is left out first; of those without, the last one.
    rank: usize,
}

impl Column {
    /// A column of short texts, which are never cut.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: one_line(&name.into()).into_owned(),
            is_number: false,
            least: None,
            has_states: false,
            rank: 0,
        }
    }

    /// A column of the states of runs or jobs.
    pub fn state(name: impl Into<String>) -> Self {
        Self {
            has_states: true,
            ..Self::new(name)
        }
    }

    /// The same, aligned at the end of its cells.
    pub fn number(name: impl Into<String>) -> Self {
        Self {
            is_number: true,
            ..Self::new(name)
        }
    }

    /// The same, left out before all columns of a lower rank if there is no room.
    pub fn less(self, rank: usize) -> Self {
        Self { rank, ..self }
    }

    /// The same, whose cells may be cut to this width.
    pub fn at_least(self, width: usize) -> Self {
        Self {
            least: Some(width),
            ..self
        }
    }
}

/// A table with a header.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A table as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its lines, without blanks at their ends. The first one is the header.
    pub lines: Vec<Line>,
    /// The names of the columns for which there was no room.
    pub left_out: Vec<String>,
}

impl Table {
    /// An empty one.
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each column.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| match one_line(&cell) {
            std::borrow::Cow::Borrowed(_) => cell,
            std::borrow::Cow::Owned(shown) => shown,
        });
        self.rows.push(cells.collect());
    }

    /// The table as [`draw`](Self::draw) draws it, with colours, and with the names of what is left out.
    pub fn text(&self, width: Option<usize>) -> String {
        let drawn = self.draw(width);
        let lines: Vec<_> = drawn.lines.into_iter().map(|line| line.colored).collect();
        let mut text = lines.join("\n");
        if !drawn.left_out.is_empty() {
            let left_out = drawn.left_out.join(", ");
            let left_out = format!("not shown, for lack of width: {left_out}");
            for line in wrap(&left_out, width.unwrap_or(usize::MAX)) {
                text.push('\n');
                text.push_str(&line);
            }
        }
        text
    }

    /// The table for a terminal of this width, or for a pipe.
    pub fn draw(&self, width: Option<usize>) -> Drawn {
        let natural = self.natural_widths();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let mut left_out = Vec::new();
        let widths = loop {
            let mut widths: Vec<_> = shown.iter().map(|place| natural[*place]).collect();
            let fits = width.is_none_or(|width| self.squeeze(&shown, &mut widths, width));
            if fits || shown.len() == 1 {
                if let ([only], Some(width)) = (&mut widths[..], width) {
                    *only = width.min(*only);
                }
                break widths;
            }
            let places = 0..shown.len();
            let last = places.max_by_key(|place| self.columns[shown[*place]].rank);
            left_out.push(shown.remove(last.unwrap_or_default()));
        };
        left_out.sort_unstable();
        let of = |row: &[&str]| {
            let cells = shown
                .iter()
                .map(|place| row.get(*place).copied().unwrap_or_default());
            self.line(&shown, cells, &widths)
        };
        let names: Vec<_> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let mut header = of(&names);
        header.colored = header.plain.dimmed().to_string();
        let rows = self.rows.iter();
        let rows = rows.map(|row| of(&row.iter().map(String::as_str).collect::<Vec<_>>()));
        let left_out = left_out
            .into_iter()
            .map(|place| self.columns[place].name.clone());
        Drawn {
            lines: once(header).chain(rows).collect(),
            left_out: left_out.collect(),
        }
    }

    fn natural_widths(&self) -> Vec<usize> {
        let width = |(place, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(place));
            let widest = cells.map(|cell| columns(cell)).max().unwrap_or(0);
            widest.max(columns(&column.name))
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// Narrows the widest of the columns that may be cut until all fit. Returns whether they do.
    fn squeeze(&self, shown: &[usize], widths: &mut [usize], width: usize) -> bool {
        while total(widths) > width {
            let can_be_cut = |place: &usize| {
                let least = self.columns[shown[*place]].least;
                least.is_some_and(|least| widths[*place] > least)
            };
            let widest = (0..widths.len())
                .filter(can_be_cut)
                .max_by_key(|place| widths[*place]);
            let Some(widest) = widest else {
                return false;
            };
            widths[widest] -= 1;
        }
        true
    }

    fn line<'a>(
        &self,
        shown: &[usize],
        cells: impl Iterator<Item = &'a str>,
        widths: &[usize],
    ) -> Line {
        let mut line = Line::default();
        // Written only if a cell follows, so that no line ends with them.
        let mut blanks = String::new();
        let columns_shown = shown.iter().map(|place| &self.columns[*place]);
        for ((cell, column), width) in cells.zip(columns_shown).zip(widths) {
            let cell = cut(cell, *width);
            let missing = " ".repeat(width - columns(&cell));
            let (before, after) = match column.is_number {
                true => (missing, String::new()),
                false => (String::new(), missing),
            };
            blanks.push_str(&before);
            if !cell.is_empty() {
                line.plain.extend([&blanks, &*cell]);
                line.colored.push_str(&blanks);
                line.colored
                    .push_str(&match color(&cell).filter(|_| column.has_states) {
                        Some(color) => cell.color(color).to_string(),
                        None => cell.into_owned(),
                    });
                blanks.clear();
            }
            blanks.push_str(&after);
            blanks.push_str(GAP);
        }
        line
    }
}

/// The colour of a state of a run or a job: of its first word.
pub fn color(state: &str) -> Option<AnsiColors> {
    let word = state.split([',', ' ']).next().unwrap_or_default();
    Some(match word {
        "completed" => AnsiColors::Green,
        "failed" | "unreadable" => AnsiColors::Red,
        "cancelled" | "stopped" | "interrupted" | "paused" => AnsiColors::Yellow,
        "running" => AnsiColors::Cyan,
        _ => return None,
    })
}

fn total(widths: &[usize]) -> usize {
    let gaps = widths.len().saturating_sub(1) * GAP.len();
    widths.iter().sum::<usize>() + gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![
            Column::number("job"),
            Column::state("state"),
            Column::new("why").at_least(6),
            Column::new("host").at_least(4),
        ];
        let mut table = Table::new(columns);
        let row = |cells: [&str; 4]| cells.map(str::to_owned);
        table.add_row(row(["7", "running", "", "node1"]));
        let why = "attempt 0 failed\nwith code 1";
        table.add_row(row(["12", "failed", why, "node12.cluster"]));
        table
    }

    fn plain(drawn: &Drawn) -> Vec<&str> {
        drawn.lines.iter().map(|line| line.plain.as_str()).collect()
    }

    #[test]
    fn in_a_pipe_it_is_complete() {
        let drawn = table().draw(None);
        let expected = [
            "job  state    why                           host",
            "  7  running                                node1",
            " 12  failed   attempt 0 failed with code 1  node12.cluster",
        ];
        assert_eq!(plain(&drawn), expected);
        assert_eq!(drawn.left_out, [""; 0]);
    }

    #[test]
    fn long_cells_are_cut_before_columns_are_left_out() {
        let drawn = table().draw(Some(40));
        let expected = [
            "job  state    why           host",
            "  7  running                node1",
            " 12  failed   attempt 0 f…  node12.clus…",
        ];
        assert_eq!(plain(&drawn), expected);
        let drawn = table().draw(Some(20));
        assert_eq!(plain(&drawn)[2], " 12  failed   attem…");
        assert_eq!(drawn.left_out, ["host"]);
        let drawn = table().draw(Some(13));
        assert_eq!(plain(&drawn)[1], "  7  running");
        assert_eq!(drawn.left_out, ["why", "host"]);
    }

    #[test]
    fn a_column_of_high_rank_is_left_out_first() {
        let mut table = table();
        table.columns[2] = Column::new("first").less(2);
        table.columns[3] = Column::new("second").less(1);
        let left_out = |width| table.draw(Some(width)).left_out;
        assert_eq!(left_out(60), [""; 0]);
        assert_eq!(left_out(40), ["first"]);
        assert_eq!(left_out(20), ["first", "second"]);
        assert_eq!(left_out(5), ["state", "first", "second"]);
    }

    #[test]
    fn colours_are_added_to_what_is_shown_without() {
        for width in [None, Some(40), Some(20)] {
            for line in table().draw(width).lines {
                assert_eq!(
                    anstream::adapter::strip_str(&line.colored).to_string(),
                    line.plain
                );
            }
        }
        let text = table().text(Some(20));
        assert!(text.contains("\u{1b}[31mfailed\u{1b}[39m"), "{text:?}");
        assert!(
            text.ends_with("not shown, for lack\nof width: host"),
            "{text:?}"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..100 {
            let drawn = table().draw(Some(width));
            let widest = plain(&drawn).into_iter().map(columns).max();
            assert!(widest <= Some(width), "{width}: {:?}", drawn.lines);
        }
    }
}
