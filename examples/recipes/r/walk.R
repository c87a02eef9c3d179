# A random walk of 1500 steps. The state is saved after each step, in a new file that then takes the old one's
# place, so that R may be ended at any moment.
if (file.exists("state.rds")) {
    state <- readRDS("state.rds")
    .Random.seed <- state$seed
} else {
    set.seed(1)
    state <- list(step = 0, position = 0, seed = .Random.seed)
}

while (state$step < 1500) {
    state$position <- state$position + mean(rnorm(20000))
    state$step <- state$step + 1
    state$seed <- .Random.seed
    saveRDS(state, "state.part")
    invisible(file.rename("state.part", "state.rds"))
    cat("step", state$step, "\n")
}
write(format(state$position, digits = 17), "result.txt")
