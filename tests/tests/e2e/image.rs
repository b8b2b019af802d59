//! `mirror image save` and `agent.image`: the way for clusters where the agent cannot be delivered otherwise.

use tests::{AgentImage, Laptop};

#[test]
fn a_saved_image_runs_the_agent() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let outcome = laptop
        .exec(&format!("-v --agent-image {}", image.name), "curl -sS --max-time 10 http://echo-server/")
        .success();
    assert!(outcome.stdout.contains("\"path\""), "{}", outcome.stdout);
}

#[test]
fn the_archive_can_go_to_standard_output() {
    let laptop = Laptop::new();
    let mut list = laptop.command("sh");
    list.args(["-c", r#""$0" image save -o - | tar -t"#]).arg(laptop.mirror_path());
    let outcome = laptop.run(list).success();
    assert!(outcome.stdout.starts_with("manifest.json\n"), "{}", outcome.stdout);
}
