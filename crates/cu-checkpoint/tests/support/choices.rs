//! Runs a function once for each combination of the choices that it makes.

/// The choices of one run; the next run makes others.
#[derive(Debug, Default)]
pub struct Choices {
    /// Each choice, and the number of options.
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// A number below `count`.
    pub fn choose(&mut self, count: usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((0, count));
        }
        let (chosen, of) = self.made[self.next];
        assert_eq!(
            of, count,
            "the number of options must depend on earlier choices alone"
        );
        self.next += 1;
        chosen
    }

    /// Calls `run` for every combination; returns how many there were.
    pub fn for_all(mut run: impl FnMut(&mut Self)) -> usize {
        let mut choices = Self::default();
        let mut runs = 0;
        loop {
            choices.next = 0;
            run(&mut choices);
            runs += 1;
            while choices
                .made
                .last()
                .is_some_and(|(chosen, count)| chosen + 1 == *count)
            {
                choices.made.pop();
            }
            match choices.made.last_mut() {
                Some((chosen, _)) => *chosen += 1,
                None => return runs,
            }
        }
    }
}

#[test]
fn all_combinations_are_tried() {
    let mut seen = Vec::new();
    let runs = Choices::for_all(|choices| {
        let first = choices.choose(2);
        // The second choice exists in one branch only.
        seen.push((first, if first == 1 { choices.choose(3) } else { 0 }));
    });
    assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (1, 2)]);
    assert_eq!(runs, 4);
}
